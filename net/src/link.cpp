// SPDX-License-Identifier: BSL-1.0
#include <chainring/link.hpp>
#include <chainring/trap.hpp>

#include "net/src/link_state.hpp"
#include "net/src/socket_settings.hpp"

#include <cerrno>
#include <sys/socket.h>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

// ---- Link

void Link::drop() noexcept {
    if (detail::LinkState* state = std::exchange(state_, nullptr)) state->drop_link_handle();
}

void Link::abort() noexcept {
    state()->request_abort();
}

void Link::force_close_after(Duration duration) {
    state()->force_close_after(duration);
}

void Link::close_when_idle(Duration duration, IdleMeans means) {
    state()->close_when_idle(duration, means);
}

Outbox Link::outbox(const OutboxOptions& options) {
    CHAINRING_REQUIRE(options.high_water > 0, "the high-water mark of an Outbox is at least one byte");
    state()->accept_posts(options);
    return Outbox(*state());
}

Outbox Link::outbox(std::size_t limit) {
    OutboxOptions options;
    options.high_water = limit;
    return outbox(options);
}

Result<Address> Link::peer() const noexcept {
    return state()->name(&detail::Backend::peer_name);
}
Result<Address> Link::local() const noexcept {
    return state()->name(&detail::Backend::local_name);
}
Result<TcpInfo> Link::tcp_info() const noexcept {
    return state()->tcp_info();
}
unsigned Link::home() const noexcept {
    return state()->home_index();
}

Result<Link> Link::adopt(int fd, SocketOptions options) noexcept {
    detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker, "a Link is adopted by a task of a Runtime");
    detail::Backend& backend = worker->backend();
    if (const std::error_code error = detail::check_adopted(backend, fd, false)) return error;
    if (const std::error_code error = detail::SocketSettings(options).apply(backend, fd)) return error;
    try {
        Link link(detail::LinkState::take_over(*worker, fd));
        backend.adopt(fd);
        return link;
    } catch (...) {
        return std::make_error_code(std::errc::not_enough_memory);
    }
}

// ---- ConnectOp

struct ConnectOp::Attempt : detail::ConnectOperation {
    explicit Attempt(ConnectOp& waiting) noexcept : ConnectOperation(&socket), op(&waiting) {}
    detail::Endpoint socket;
    ConnectOp* op;
    detail::Wake ending = detail::Wake::none;
};

ConnectOp::ConnectOp(Result<Address> to, const SocketOptions& options) noexcept : options_(options) {
    if (to)
        to_ = *to;
    else
        error_ = to.error();
}

ConnectOp::~ConnectOp() = default;

bool ConnectOp::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    if (error_) return false;
    detail::Worker& worker = *node.context->worker();
    if (node.context->is_cancelled()) {
        error_ = Errc::cancelled;
        return false;
    }
    const Result<int> fd = worker.backend().open_stream(to_.family());
    if (!fd) {
        error_ = fd.error();
        return false;
    }
    error_ = detail::SocketSettings(options_).apply(worker.backend(), *fd);
    if (!error_) {
        attempt_.reset(new (std::nothrow) Attempt(*this));
        if (!attempt_) error_ = std::make_error_code(std::errc::not_enough_memory);
    }
    if (error_) {
        worker.backend().close_unused(*fd);
        return false;
    }
    Attempt& attempt = *attempt_;
    attempt.socket.fd = *fd;
    if (to_.is_unix()) {
        // A unix connect never waits for the peer: it succeeds, or fails, with EAGAIN when the listener's queue is
        // full.
        task = node.context;
        if (const int error = worker.backend().connect_now(*fd, static_cast<const sockaddr*>(to_.data()),
                                                           static_cast<socklen_t>(to_.size())))
            error_ = std::error_code(error, std::system_category());
        end_attempt(worker);
        return false;
    }
    attempt.address = static_cast<const sockaddr*>(to_.data());
    attempt.address_size = static_cast<socklen_t>(to_.size());
    attempt.complete = [](detail::Operation& operation, detail::Completion completion) noexcept {
        auto& ended = static_cast<Attempt&>(operation);
        ConnectOp& op = *ended.op;
        const detail::Wake why = ended.ending;
        if (completion.result == 0)
            op.accept_success();
        else if (why == detail::Wake::timed_out)
            op.error_ = Errc::timed_out;
        else if (why != detail::Wake::none)
            op.error_ = Errc::cancelled;
        else
            op.error_ = {-completion.result, std::system_category()};
        op.end_attempt(*op.task->worker());
        if (op.try_claim(detail::Wake::completed)) op.finish();
    };
    waits_in = detail::WaitKind::connect;
    cancel = end_early;
    begin(node, handle, limit_);
    worker.backend().submit(attempt);
    return true;
}

void ConnectOp::end_early(detail::Waiter& waiter, detail::Wake why) noexcept {
    auto& self = static_cast<ConnectOp&>(waiter);
    self.attempt_->ending = why;
    self.task->worker()->backend().cancel(*self.attempt_);
}

// Success is delivered, also when it lost against a limit or a cancel. But a port from which the kernel also takes
// local ports may be connected to itself when nobody listens there (TCP's simultaneous open, RFC 9293, 3.5): that is as
// good as refused. No second try: a port that somebody listens on is not given out, so it was nobody's.
void ConnectOp::accept_success() noexcept {
    detail::Backend& backend = task->worker()->backend();
    const int fd = attempt_->socket.fd;
    const auto name = [&](auto get_name) noexcept {
        sockaddr_storage storage{};
        socklen_t size = sizeof storage;
        return (backend.*get_name)(fd, storage, size) == 0 ? Address::from_sockaddr(&storage, size) : Address();
    };
    error_ = {};
    const Address local = name(&detail::Backend::local_name);
    if (local.port() != to_.port() || !(local == name(&detail::Backend::peer_name))) return;
    backend.reset_on_close(fd);  // without TIME_WAIT, which would keep the port from its server
    error_ = {ECONNREFUSED, std::system_category()};
}

// On the worker where the attempt was made. The descriptor goes over to the Link; the epoll backend registers it anew
// for its new endpoint.
void ConnectOp::end_attempt(detail::Worker& worker) noexcept {
    if (error_)
        worker.backend().close(attempt_->socket);
    else
        fd_ = worker.backend().release(attempt_->socket);
}

Result<Link> ConnectOp::await_resume() noexcept {
    if (error_) return error_;
    try {
        return Link(detail::LinkState::adopt(*detail::Worker::current(), fd_));
    } catch (...) {
        return std::make_error_code(std::errc::not_enough_memory);
    }
}

ConnectOp Link::connect(const Address& to, SocketOptions options) noexcept {
    return ConnectOp(Result<Address>(to), options);
}
ConnectOp Link::connect(std::string_view to, SocketOptions options) noexcept {
    return ConnectOp(Address::parse(to), options);
}

CHAINRING_END_NAMESPACE
