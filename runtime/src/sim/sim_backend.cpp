// SPDX-License-Identifier: BSL-1.0
// Which operations a poll looks at, cancels, and the calls that do not wait. See sim_operations.cpp for how an
// operation completes.
#include "runtime/src/sim/sim_backend.hpp"

#include <chainring/manual_clock.hpp>

#include "runtime/src/resolver.hpp"
#include "runtime/src/sanitizers.hpp"
#include "runtime/src/sim/network.hpp"

#include <algorithm>
#include <cerrno>
#include <netdb.h>
#include <string>
#include <system_error>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

namespace {

std::error_code system_error(int error) noexcept {
    return {error, std::system_category()};
}

bool reads(const Operation& operation) noexcept {
    return operation.kind == OperationKind::accept || operation.kind == OperationKind::recv;
}

}  // namespace

// ---- buffers

SimPool::SimPool(unsigned count, unsigned buffer_size) : BufferPool(count, buffer_size) {
    free_.reserve(count);
    for (unsigned index = count; index-- > 0;) free_.push_back(static_cast<std::uint16_t>(index));
}

unsigned SimPool::take() noexcept {
    const unsigned index = free_.back();
    free_.pop_back();
    return index;
}

std::span<std::byte> SimPool::room(unsigned index) noexcept {
    unpoison(buffer(index), buffer_size());
    return {buffer(index), buffer_size()};
}

void SimPool::recycle(unsigned index) noexcept {
    free_.push_back(static_cast<std::uint16_t>(index));
}

// ---- life

SimBackend::CancelTimer::CancelTimer(SimBackend& of) noexcept
    : TimedEvent([](TimedEvent& event) noexcept { static_cast<CancelTimer&>(event).backend.cancels_fall_due(); }),
      backend(of) {}

SimBackend::SimBackend(Machine& machine, const BackendOptions& options)
    : machine_(machine),
      network_(machine.network()),
      manual_clock_(options.clock),
      incarnation_(machine.incarnation()),
      pool_(options.recv_buffers, options.recv_buffer_size) {}

SimBackend::~SimBackend() {
    network_.timeline().cancel(cancel_timer_);
    machine_.forget(*this);
}

Instant SimBackend::now() const noexcept {
    if (own_clock_) return *own_clock_;
    return manual_clock_ ? manual_clock_->now() : network_.timeline().now();
}
Instant SimBackend::coarse_now() const noexcept {
    return now();
}

bool SimBackend::chance(unsigned of_thousand) noexcept {
    return network_.random().chance(of_thousand, 1000);
}

// ---- submission

// Null for what is no descriptor: such an operation is hot until it ends.
Operation** SimBackend::slot_of(const Operation& operation) noexcept {
    const int fd = operation.endpoint->fd;
    if (fd < 0 || static_cast<std::size_t>(fd) >= slots_.size()) return nullptr;
    Slot& slot = slots_[static_cast<std::size_t>(fd)];
    return reads(operation) ? &slot.reader : &slot.writer;
}

void SimBackend::submit(Operation& operation) noexcept {
    begin(operation);
    const int fd = operation.endpoint->fd;
    network_.trace().record(TraceKind::submit, static_cast<std::int64_t>(operation.kind), fd);
    if (is_known(fd)) {
        if (static_cast<std::size_t>(fd) >= slots_.size()) slots_.resize(static_cast<std::size_t>(fd) + 1);
        *slot_of(operation) = &operation;
        machine_.watch(fd, *this);
    }
    if (operation.kind == OperationKind::send) static_cast<SendOperation&>(operation).taken = 0;
    if (operation.kind == OperationKind::connect) static_cast<ConnectOperation&>(operation).begun = false;
    heat(operation);  // the next poll hands it over
}

void SimBackend::heat(Operation& operation) noexcept {
    if (std::exchange(operation.pending, true)) return;
    hot_.push_back(&operation);
}

bool SimBackend::may_complete(const Operation& operation) const noexcept {
    const int fd = operation.endpoint->fd;
    switch (operation.kind) {
        case OperationKind::accept:
            return machine_.would_accept(fd);
        case OperationKind::recv:
            return machine_.would_recv(fd);
        case OperationKind::send:
        case OperationKind::connect:
            return machine_.would_send(fd);
    }
    return true;
}

void SimBackend::heat_if_due(Operation* operation) noexcept {
    if (operation && !operation->pending && may_complete(*operation)) heat(*operation);
}

void SimBackend::changed(int fd) noexcept {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= slots_.size()) return;
    heat_if_due(slots_[index].reader);
    heat_if_due(slots_[index].writer);
}

// ---- cancel

void SimBackend::cancel(Operation& operation) noexcept {
    if (!operation.armed || operation.cancel_requested) return;
    operation.cancel_requested = true;
    const auto kind = static_cast<std::int64_t>(operation.kind);
    network_.trace().record(TraceKind::cancel, kind, operation.endpoint->fd);
    Duration delay{};
    if (chance(network_.mischief.slow_cancel)) {
        const auto slowest = static_cast<std::uint64_t>(network_.mischief.slowest_cancel.count());
        delay = Duration(network_.random().between(0, slowest));
    }
    cancels_.push_back(Cancel{&operation, network_.timeline().now() + delay});
    cancels_fall_due();
}

// Those that take effect now are looked at in the next poll; the timer is set for the others.
void SimBackend::cancels_fall_due() noexcept {
    Timeline& timeline = network_.timeline();
    Instant next = Instant::max();
    for (const Cancel& cancel : cancels_) {
        if (cancel.effective <= timeline.now())
            heat(*cancel.operation);
        else
            next = std::min(next, cancel.effective);
    }
    if (next != Instant::max())
        timeline.schedule(cancel_timer_, next);
    else
        timeline.cancel(cancel_timer_);
}

bool SimBackend::cancelled(const Operation& operation) const noexcept {
    if (!operation.cancel_requested) return false;
    return std::any_of(cancels_.begin(), cancels_.end(), [&](const Cancel& cancel) {
        return cancel.operation == &operation && cancel.effective <= network_.timeline().now();
    });
}

// ---- delivery

void SimBackend::poll() noexcept {
    woken_ = false;
    if (severed())
        end_all();
    else
        deliver_hot();
}

void SimBackend::wait(Instant) noexcept {
    poll();
}

bool SimBackend::spin() noexcept {
    const std::uint64_t before = completions();
    poll();
    return completions() != before;
}

void SimBackend::wake() noexcept {
    network_.trace().record(TraceKind::wake);
    woken_ = true;
}

// What becomes hot meanwhile, also by what is submitted in a completion, is for the next poll.
void SimBackend::deliver_hot() noexcept {
    if (hot_.empty()) return;
    batch_.swap(hot_);
    if (batch_.size() > 1 && chance(network_.mischief.reorder)) network_.random().shuffle(batch_);
    bool delivered = false;
    for (std::size_t index = 0; index < batch_.size(); ++index) {
        Operation& operation = *batch_[index];
        operation.pending = false;
        const bool last_chance = !delivered && index + 1 == batch_.size();
        if (!last_chance && chance(network_.mischief.defer))
            heat(operation);
        else if (attempt(operation))
            delivered = true;
        if (severed()) {  // by what was delivered: the rest ends in the next poll
            hot_.insert(hot_.end(), batch_.begin() + static_cast<std::ptrdiff_t>(index) + 1, batch_.end());
            break;
        }
    }
    batch_.clear();
}

// The process has been killed: whatever is armed ends, and nothing reaches the world any more.
void SimBackend::end_all() noexcept {
    network_.timeline().cancel(cancel_timer_);
    cancels_.clear();
    batch_.clear();
    batch_.swap(hot_);
    for (const Slot& slot : slots_)
        for (Operation* operation : {slot.reader, slot.writer})
            if (operation && !operation->pending) batch_.push_back(operation);
    slots_.clear();
    for (Operation* operation : batch_) {
        operation->pending = false;
        deliver(*operation, Completion{-ECANCELED, false, nullptr});
    }
    batch_.clear();
}

// ---- calls that do not wait

Result<int> SimBackend::open_stream(int family) noexcept {
    if (severed()) return system_error(ENETDOWN);
    const int fd = machine_.open_stream(family);
    if (fd < 0) return system_error(-fd);
    return fd;
}

Result<ListeningSocket> SimBackend::listen(const ListenRequest& request) noexcept {
    if (severed()) return system_error(ENETDOWN);
    return machine_.listen(request);
}

void SimBackend::remove_path(const ListenRequest& request, std::uint64_t inode) noexcept {
    if (!severed()) machine_.remove_path(request, inode);
}

Result<int> SimBackend::accept_now(int listener) noexcept {
    if (severed()) return system_error(EBADF);
    for (;;) {
        const int fd = machine_.accept(listener);
        if (fd >= 0) return fd;
        if (fd != -ECONNABORTED) return system_error(-fd);
    }
}

int SimBackend::connect_now(int fd, const sockaddr* address, socklen_t size) noexcept {
    return severed() ? EBADF : -machine_.connect(fd, address, size);
}

void SimBackend::adopt(int) noexcept {}  // there are no modes

void SimBackend::close(Endpoint& endpoint) noexcept {
    const int fd = release(endpoint);
    if (fd >= 0) close_unused(fd);
}

void SimBackend::close_unused(int fd) noexcept {
    if (!severed()) machine_.close(fd);
}

int SimBackend::release(Endpoint& endpoint) noexcept {
    return std::exchange(endpoint.fd, -1);
}

int SimBackend::shutdown_write(int fd) noexcept {
    return severed() ? EBADF : machine_.shutdown_write(fd);
}

int SimBackend::try_recv(int fd, std::span<std::byte> into) noexcept {
    return severed() ? -EBADF : machine_.recv(fd, into);
}

void SimBackend::reset_on_close(int fd) noexcept {
    if (!severed()) machine_.reset_on_close(fd);
}

int SimBackend::local_name(int fd, sockaddr_storage& name, socklen_t& size) const noexcept {
    return severed() ? EBADF : machine_.local_name(fd, name, size);
}

int SimBackend::peer_name(int fd, sockaddr_storage& name, socklen_t& size) const noexcept {
    return severed() ? EBADF : machine_.peer_name(fd, name, size);
}

bool SimBackend::resolve_here(const std::string& host, ResolvedName& answer) noexcept {
    const auto add = [&answer](const HostAddress& address) {
        Name name;
        name.family = address.is_v4() ? AF_INET : AF_INET6;
        name.address = address;
        sockaddr_storage& found = answer.addresses.emplace_back();
        socklen_t size = sizeof found;
        write_name(name, found, size);
    };
    if (host == "localhost") {
        add(HostAddress::loopback(false));
        add(HostAddress::loopback(true));
        return true;
    }
    for (const auto& machine : network_.machines())
        if (machine->name() == host)
            for (const HostAddress& address : machine->addresses()) add(address);
    if (answer.addresses.empty()) answer.error = EAI_NONAME;
    return true;
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
