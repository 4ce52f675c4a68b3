// SPDX-License-Identifier: BSL-1.0
#include <chainring/listener.hpp>
#include <chainring/schedule.hpp>
#include <chainring/trap.hpp>

#include "net/src/admission.hpp"
#include "net/src/link_state.hpp"
#include "net/src/listener_state.hpp"
#include "net/src/peer_key.hpp"
#include "net/src/socket_settings.hpp"
#include "net/src/way_home.hpp"
#include "runtime/src/runtime_state.hpp"

#include <sys/socket.h>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

namespace detail {

Socket::~Socket() {
    if (fd_ >= 0) Worker::current()->backend().close_unused(fd_);
    arrived();
    if (admission_) admission_->leave(counted_as_);
}

void Socket::place_at(Worker& worker) noexcept {
    worker.link_made();
    worker_ = static_cast<std::uint16_t>(worker.index());
    placed_ = true;
}

void Socket::arrived() noexcept {
    if (std::exchange(placed_, false)) Worker::current()->runtime().workers[worker_]->link_gone();
}

}  // namespace detail

namespace {

// With an error the descriptor stays the caller's.
Result<detail::ListenerState*> make_state(const detail::ListeningSocket& socket, const ListenOptions& options,
                                          detail::ListenerState* first) noexcept {
    detail::Worker& worker = *detail::Worker::current();
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    worker.backend().local_name(socket.fd, storage, size);
    try {
        return detail::ListenerState::make(worker, socket, Address::from_sockaddr(&storage, size), options, first);
    } catch (...) {
        return std::make_error_code(std::errc::not_enough_memory);
    }
}

// `first`: the Listener whose port the new socket joins, or null.
Result<detail::ListenerState*> make_listener(const Address& address, const ListenOptions& options,
                                             detail::ListenerState* first) noexcept {
    detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker, "a Listener is bound by a task of a Runtime");
    const detail::SocketSettings settings(options.socket);
    detail::ListenRequest request = detail::listen_request(address);
    request.backlog = options.backlog;
    request.joins = first != nullptr || options.share_port;
    request.shares = !request.joins && options.spread == Spread::reuse_port;
    request.settings = settings.all();
    const Result<detail::ListeningSocket> socket = worker->backend().listen(request);
    if (!socket) return socket.error();
    Result<detail::ListenerState*> state = make_state(*socket, options, first);
    if (!state) worker->backend().close_unused(socket->fd);
    return state;
}

// Which worker serves this peer: always the same. Of one that has gone already nobody will know: worker 0.
unsigned worker_of_peer(const detail::Backend& backend, int fd, std::size_t workers) noexcept {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (backend.peer_name(fd, storage, size) != 0) return 0;
    return static_cast<unsigned>(detail::PeerKey::of(Address::from_sockaddr(&storage, size)).hash() % workers);
}

}  // namespace

// ---- bind

BindOp::BindOp(Result<Address> address, ListenOptions options) noexcept
    : address_(std::move(address)), options_(options) {}

Result<Listener> BindOp::await_resume() noexcept {
    if (!address_) return address_.error();
    if ((options_.spread == Spread::reuse_port || options_.share_port) && address_->is_unix())
        return Errc::not_supported;
    Result<detail::ListenerState*> state = make_listener(*address_, options_, nullptr);
    if (!state) return state.error();
    return Listener(*state);
}

BindOp Listener::bind(std::string_view address, ListenOptions options) noexcept {
    return BindOp(Address::parse(address), options);
}

BindOp Listener::bind(const Address& address, ListenOptions options) noexcept {
    return BindOp(Result<Address>(address), options);
}

Result<Listener> Listener::join_port(const Listener& first) noexcept {
    Result<detail::ListenerState*> state = make_listener(first.address(), first.options(), first.state());
    if (!state) return state.error();
    return Listener(*state);
}

Result<Listener> Listener::adopt(int fd, ListenOptions options) noexcept {
    detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker, "a Listener is adopted by a task of a Runtime");
    if (options.spread == Spread::reuse_port) return Errc::not_supported;
    detail::Backend& backend = worker->backend();
    if (const std::error_code error = detail::check_adopted(backend, fd, true)) return error;
    if (const std::error_code error = detail::SocketSettings(options.socket).apply(backend, fd)) return error;
    detail::ListeningSocket socket;
    socket.fd = fd;
    Result<detail::ListenerState*> state = make_state(socket, options, nullptr);
    if (!state) return state.error();
    backend.adopt(fd);
    return Listener(*state);
}

// ---- Listener

detail::ListenerState* Listener::state() const noexcept {
    CHAINRING_REQUIRE(state_, "an empty Listener was used");
    return state_;
}

void Listener::drop() noexcept {
    if (detail::ListenerState* state = std::exchange(state_, nullptr)) state->drop_handle();
}

const Address& Listener::address() const noexcept {
    return state()->address();
}
std::size_t Listener::connections() const noexcept {
    return state()->admission().served();
}
unsigned Listener::home() const noexcept {
    return state()->home().index();
}
Spread Listener::spread() const noexcept {
    return state()->options().spread;
}
ListenOptions Listener::options() const noexcept {
    return state()->options();
}

unsigned Listener::pick_worker(detail::Socket& socket) noexcept {
    const auto& workers = state()->home().runtime().workers;
    const unsigned index = spread() == Spread::by_peer
                               ? worker_of_peer(state()->home().backend(), socket.fd(), workers.size())
                               : state()->next_worker();
    socket.place_at(*workers[index]);
    return index;
}

// On the worker chosen, where the handler's task has begun; from here on it may roam.
Link Listener::adopt_served(detail::Socket& socket) {
    detail::LinkState* link = detail::LinkState::adopt(*detail::Worker::current(), socket.release());
    roam();
    link->close_gracefully_when_dropped();
    socket.arrived();  // the Link counts for itself from here on
    return Link(link);
}

detail::Admitted Listener::admit(detail::Socket& socket) noexcept {
    return state()->admission().admit(socket);
}

// ---- AcceptOp

AcceptOp::AcceptOp(detail::ListenerState* listener) noexcept : listener_(listener) {
    waits_in = detail::WaitKind::accept;
    cancel = end_early;
}

// At the Listener's home; a task that is elsewhere goes there first.
bool AcceptOp::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (detail::Worker::current() == &listener_->home()) return listener_->start_accept(*this, node, handle);
    detail::go_home(*this, *listener_, node, handle, arrive);
    return true;
}

void AcceptOp::arrive(detail::InboxNode& node) noexcept {
    detail::TaskContext& task = detail::arrived_task(node);
    auto& self = static_cast<AcceptOp&>(*task.waiter);
    detail::ListenerState& listener = *self.listener_;
    detail::has_begun(task, listener, listener.start_accept(self, *task.leaf, task.resume));
}

void AcceptOp::end_early(detail::Waiter& waiter, detail::Wake why) noexcept {
    auto& self = static_cast<AcceptOp&>(waiter);
    self.listener_->end_accept(self, why);
}

Result<int> AcceptOp::take() noexcept {
    if (fd_ >= 0) return fd_;
    return detail::error_of(outcome());
}

Result<Link> AcceptOp::await_resume() noexcept {
    const Result<int> fd = take();
    if (!fd) return fd.error();
    try {
        return Link(detail::LinkState::adopt(*detail::Worker::current(), *fd));
    } catch (...) {
        return std::make_error_code(std::errc::not_enough_memory);
    }
}

Result<detail::Socket> Listener::AcceptSocket::await_resume() noexcept {
    const Result<int> fd = take();
    if (!fd) return fd.error();
    return detail::Socket(*fd);
}

CHAINRING_END_NAMESPACE
