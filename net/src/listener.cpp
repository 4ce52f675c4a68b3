// SPDX-License-Identifier: BSL-1.0
#include <chainring/listener.hpp>
#include <chainring/schedule.hpp>
#include <chainring/trap.hpp>

#include "net/src/link_state.hpp"
#include "net/src/listener_state.hpp"
#include "net/src/way_home.hpp"
#include "runtime/src/runtime_state.hpp"

#include <cerrno>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

namespace detail {

Socket::~Socket() {
    if (fd_ >= 0) ::close(fd_);
    if (counted_) counted_->link_gone();
}

void Socket::count_at(Worker& worker) noexcept {
    worker.link_made();
    counted_ = &worker;
}

}  // namespace detail

namespace {

std::error_code last_error() noexcept {
    return {errno, std::system_category()};
}

void enable(int fd, int level, int option) noexcept {
    const int on = 1;
    ::setsockopt(fd, level, option, &on, sizeof on);
}

int bind_to(int fd, const Address& address) noexcept {
    return ::bind(fd, static_cast<const sockaddr*>(address.data()), static_cast<socklen_t>(address.size()));
}

// A socket file that a process left behind when it died: connecting is refused. Other files are none of our business,
// though connecting to them is refused as well. Leaves errno as it was.
bool is_stale(const Address& address) noexcept {
    const int saved = errno;
    bool stale = false;
    struct stat status {};
    if (::lstat(std::string(address.unix_path()).c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
        const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        stale = probe >= 0 &&
                ::connect(probe, static_cast<const sockaddr*>(address.data()), static_cast<socklen_t>(address.size())) <
                    0 &&
                errno == ECONNREFUSED;  // EAGAIN: its queue is full, but it lives
        if (probe >= 0) ::close(probe);
    }
    errno = saved;
    return stale;
}

struct Sharing {
    bool before_bind;  // a further socket of a port that one of ours has bound plainly
    bool after_bind;   // the first one: bound plainly, so that a port in use is found
};

Result<int> open_listener(detail::Backend& backend, const Address& address, int backlog, Sharing sharing) noexcept {
    const Result<int> opened = backend.open_stream(address.family());
    if (!opened) return opened.error();
    const int fd = *opened;
    if (!address.is_unix()) {
        enable(fd, SOL_SOCKET, SO_REUSEADDR);
        enable(fd, IPPROTO_TCP, TCP_NODELAY);  // accepted sockets inherit it
        if (address.family() == AF_INET6) {
            const int off = 0;
            ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
        }
        if (sharing.before_bind) enable(fd, SOL_SOCKET, SO_REUSEPORT);
    }
    int outcome = bind_to(fd, address);
    if (outcome < 0 && errno == EADDRINUSE && address.is_unix_path() && is_stale(address)) {
        ::unlink(std::string(address.unix_path()).c_str());
        outcome = bind_to(fd, address);
    }
    if (outcome == 0 && sharing.after_bind) enable(fd, SOL_SOCKET, SO_REUSEPORT);
    if (outcome == 0) outcome = ::listen(fd, backlog);
    if (outcome < 0) {
        const std::error_code error = last_error();
        ::close(fd);
        return error;
    }
    return fd;
}

Result<detail::ListenerState*> make_listener(const Address& address, const ListenOptions& options,
                                             Sharing sharing) noexcept {
    detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker, "a Listener is bound by a task of a Runtime");
    const Result<int> fd = open_listener(worker->backend(), address, options.backlog, sharing);
    if (!fd) return fd.error();
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    ::getsockname(*fd, reinterpret_cast<sockaddr*>(&storage), &size);
    try {
        return detail::ListenerState::make(*worker, *fd, Address::from_sockaddr(&storage, size), options,
                                           address.is_unix_path());
    } catch (...) {
        ::close(*fd);
        return std::make_error_code(std::errc::not_enough_memory);
    }
}

}  // namespace

// ---- bind

BindOp::BindOp(Result<Address> address, ListenOptions options) noexcept
    : address_(std::move(address)), options_(options) {}

Result<Listener> BindOp::await_resume() noexcept {
    if (!address_) return address_.error();
    const bool share = options_.spread == Spread::reuse_port;
    if (share && address_->is_unix()) return Errc::not_supported;
    Result<detail::ListenerState*> state = make_listener(*address_, options_, Sharing{false, share});
    if (!state) return state.error();
    return Listener(*state);
}

BindOp Listener::bind(std::string_view address, ListenOptions options) noexcept {
    return BindOp(Address::parse(address), options);
}

BindOp Listener::bind(const Address& address, ListenOptions options) noexcept {
    return BindOp(Result<Address>(address), options);
}

Result<Listener> Listener::join_port(const Address& address, const ListenOptions& options) noexcept {
    Result<detail::ListenerState*> state = make_listener(address, options, Sharing{true, false});
    if (!state) return state.error();
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
    const unsigned index = state()->next_worker();
    socket.count_at(*state()->home().runtime().workers[index]);
    return index;
}

// On the worker chosen, where the handler's task has begun; from here on it may roam.
Link Listener::adopt_served(detail::Socket& socket) {
    detail::LinkState* link = detail::LinkState::adopt(*detail::Worker::current(), socket.release());
    roam();
    link->close_gracefully_when_dropped();
    const detail::Socket counted = std::move(socket);  // the Link counts for itself from here on
    return Link(link);
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
