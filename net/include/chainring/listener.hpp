// SPDX-License-Identifier: BSL-1.0
// Listener: a listening socket, and serve(), which runs a handler task for each connection.
//
// Threads: a Listener lives on the worker that bound it; accept and serve are awaited anywhere. Its destructor never
// blocks; it may run on any thread, but not on one that is no worker while run() returns.
//
// When descriptors or memory run out (EMFILE, ENFILE, ENOBUFS, ENOMEM) accepting pauses, 10 ms at first and up to 1 s,
// and goes on by itself; waiting connections stay in the kernel's queue. At stop it accepts no more, hands over what
// the kernel had already accepted, and then ends with Errc::shutting_down.
#pragma once

#include <chainring/address.hpp>
#include <chainring/config.hpp>
#include <chainring/link.hpp>
#include <chainring/result.hpp>
#include <chainring/runtime.hpp>
#include <chainring/scope.hpp>
#include <chainring/socket_options.hpp>
#include <chainring/task.hpp>
#include <chainring/time.hpp>

#include <coroutine>
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {
class Admission;
class ListenerState;

// What becomes of a connection that was accepted.
enum class Admitted : std::uint8_t {
    served,
    refused,  // over ListenOptions::max_connections
    closed,   // over it, and too many are being refused already
};

// A connected descriptor on its way to the worker that will own it. Closes it if it never arrives. Stays with the
// handler's task, to its end, for what that counts as. On workers' threads only.
class Socket {
public:
    explicit Socket(int fd) noexcept : fd_(fd) {}
    Socket(Socket&& other) noexcept
        : fd_(std::exchange(other.fd_, -1)),
          worker_(other.worker_),
          placed_(std::exchange(other.placed_, false)),
          counted_as_(other.counted_as_),
          admission_(std::exchange(other.admission_, nullptr)) {}
    Socket& operator=(Socket&&) = delete;
    ~Socket();
    int fd() const noexcept { return fd_; }
    int release() noexcept { return std::exchange(fd_, -1); }
    // Counts as one of `worker`'s Links until it has arrived, so that a burst is spread as it comes.
    void place_at(Worker& worker) noexcept;
    void arrived() noexcept;
    void count_in(Admission& admission, Admitted as) noexcept {
        admission_ = &admission;
        counted_as_ = as;
    }

private:
    int fd_;
    std::uint16_t worker_ = 0;
    bool placed_ = false;
    Admitted counted_as_ = Admitted::served;
    Admission* admission_ = nullptr;
};
static_assert(sizeof(Socket) == 16, "it is part of each served connection");
}  // namespace detail

// Which worker a connection is served by.
enum class Spread : std::uint8_t {
    round_robin,   // one after the other
    least_loaded,  // the one with the fewest Links
    reuse_port,    // the kernel decides: a socket of its own for each worker (SO_REUSEPORT); TCP only
    by_peer,  // all connections of a peer to one worker: a hash of its IPv4 address or IPv6 /64; those on unix sockets
              // are one
};

// Trivially copyable, so that it may be written inside a co_await expression.
struct ListenOptions {
    Spread spread = Spread::round_robin;
    int backlog = 4096;  // connections that the kernel queues; it caps this at net.core.somaxconn
    // Connections that serve() has handlers for at a time, on all workers; 0: any number. One counts until its handler
    // has ended. One more is accepted and refused: it is sent `busy` and the end of the stream, what it sends is
    // discarded until it ends, for at most 3 s, then it is closed. When 256 are being refused, more are closed at once.
    std::uint32_t max_connections = 0;
    std::string_view busy{};  // lives as long as the Listener
    // Connections accepted in a second, in all, and how many at once after a quiet time (0: a tenth of a second's). The
    // rest waits in the kernel's queue. At stop, what is in that queue is accepted at once. 0: as they come.
    std::uint32_t accepts_per_second = 0;
    std::uint32_t accept_burst = 0;
    // Other processes of the same user may listen on the port, too, if they all say so (SO_REUSEPORT): the kernel gives
    // each connection to one of their sockets, by a hash of its addresses. What waits in the queue of one that ends is
    // reset. TCP only.
    bool share_port = false;
    SocketOptions socket{};  // of every connection
};

// See Listener::accept.
class [[nodiscard]] AcceptOp : detail::TimedWaiter, public detail::Limited<AcceptOp> {
    friend class detail::Limited<AcceptOp>;
    friend class detail::Stoppable<AcceptOp>;

public:
    explicit AcceptOp(detail::ListenerState* listener) noexcept;
    AcceptOp(const AcceptOp&) = delete;
    AcceptOp& operator=(const AcceptOp&) = delete;
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }
    Result<Link> await_resume() noexcept;

private:
    friend class detail::ListenerState;
    friend class Listener;
    friend struct detail::LinkReports;
    Result<int> take() noexcept;
    bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    static void arrive(detail::InboxNode& node) noexcept;
    static void end_early(detail::Waiter& waiter, detail::Wake why) noexcept;
    detail::ListenerState* listener_;
    detail::Limit limit_;
    int fd_ = -1;  // the connection, once the wait has ended with one
};

class BindOp;

class Listener {
public:
    Listener() noexcept = default;
    Listener(Listener&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    Listener& operator=(Listener&& other) noexcept {
        if (this != &other) {
            drop();
            state_ = std::exchange(other.state_, nullptr);
        }
        return *this;
    }
    ~Listener() { drop(); }

    // Binds and listens. Port 0 takes a free one: see address(). A port that another socket listens on is EADDRINUSE,
    // also with Spread::reuse_port, unless both have share_port. Of a unix path, a socket that nobody listens on any
    // more is replaced; the path is removed when the Listener ends. Yields Result<Listener>; never suspends.
    static BindOp bind(std::string_view address, ListenOptions options = {}) noexcept;
    static BindOp bind(const Address& address, ListenOptions options = {}) noexcept;

    // Takes over a listening stream socket that came from elsewhere (systemd's socket activation, SCM_RIGHTS); on a
    // task. It becomes CLOEXEC and gets the socket options; `backlog` is not applied. A unix path stays. Errors:
    // bad_file_descriptor, not_a_socket, wrong_protocol_type (no stream), invalid_argument (not listening),
    // address_family_not_supported, Errc::not_supported (with Spread::reuse_port), what the kernel says of the
    // options. With an error the descriptor stays the caller's, else it is the Listener's. Whether it blocks
    // is changed as the backend needs it, also for other processes that share it.
    static Result<Listener> adopt(int fd, ListenOptions options = {}) noexcept;

    // Where it listens, with the port that was given for 0.
    const Address& address() const noexcept;
    // How many connections count towards ListenOptions::max_connections now; 0 without it. Any thread.
    std::size_t connections() const noexcept;

    // Accepts a connection; its home is the worker that the task then runs on. One accept at a time (a second traps). A
    // connection that arrives while the wait is cancelled or times out is not lost: the next accept takes it.
    AcceptOp accept() noexcept { return AcceptOp(state()); }

    // Runs fn(Link, args...), a Task<>, for each connection, on the worker that `spread` chooses, until the runtime
    // stops, the calling task is cancelled or its Deadline has come; then waits for the handlers. The Link's home is
    // that worker; its handler may be stolen between two waits. args are copied for each. When a handler ends, its Link
    // is closed gracefully in the background: queued bytes are sent, then FIN; what the peer still sends is read and
    // discarded until its FIN, for at most 5 s; a peer that takes nothing is reset after 5 to 15 s. An exception from a
    // handler cancels the others and is rethrown here. fn must be trivially destructible (a function, a lambda without
    // captures): pass state in args.
    template <class Fn, class... Args>
    Task<> serve(Fn fn, Args... args) {
        static_assert(std::is_trivially_destructible_v<Fn>,
                      "serve takes a function or a lambda without owning captures; pass state as further arguments");
        static_assert(std::is_invocable_r_v<Task<>, Fn, Link, Args...>,
                      "serve takes a callable that returns Task<> for (Link, args...)");
        Scope scope;
        scope.spawn_all([&] { start_serving<Fn, Args...>(&scope, fn, args...); });
        co_await scope.join();
    }

    // The same for several Listeners, each with its own options: several ports, TCP and unix. They stay where they are
    // meanwhile. Ends when serve() would have ended for all of them.
    template <class Fn, class... Args>
    static Task<> serve_all(std::span<Listener> listeners, Fn fn, Args... args) {
        static_assert(
            std::is_trivially_destructible_v<Fn>,
            "serve_all takes a function or a lambda without owning captures; pass state as further arguments");
        static_assert(std::is_invocable_r_v<Task<>, Fn, Link, Args...>,
                      "serve_all takes a callable that returns Task<> for (Link, args...)");
        Scope scope;
        scope.spawn_all([&] {
            for (Listener& listener : listeners) listener.start_serving<Fn, Args...>(&scope, fn, args...);
        });
        co_await scope.join();
    }

    explicit operator bool() const noexcept { return state_ != nullptr; }

private:
    friend class BindOp;
    explicit Listener(detail::ListenerState* state) noexcept : state_(state) {}
    detail::ListenerState* state() const noexcept;  // traps when empty
    void drop() noexcept;
    Spread spread() const noexcept;
    unsigned home() const noexcept;
    ListenOptions options() const noexcept;
    unsigned pick_worker(detail::Socket& socket) noexcept;
    static Link adopt_served(detail::Socket& socket);
    static Result<Listener> join_port(const Listener& first) noexcept;

    static constexpr Duration refusal_time = std::chrono::seconds(3);
    detail::Admitted admit(detail::Socket& socket) noexcept;
    static Task<> refuse(detail::Socket&& socket, std::string_view text);

    // Awaits a connection as a bare descriptor, which may then go to any worker.
    class [[nodiscard]] AcceptSocket : public AcceptOp {
    public:
        using AcceptOp::AcceptOp;
        Result<detail::Socket> await_resume() noexcept;
    };

    template <class Fn, class... Args>
    static Task<> serve_one(detail::Socket&& socket, Fn&& fn, Args&&... args) {
        return std::invoke(fn, adopt_served(socket), std::move(args)...);
    }

    template <class Fn, class... Args>
    static Task<> accept_loop(Listener* listener, Scope* scope, Fn fn, Args... args) {
        for (;;) {
            auto socket = co_await AcceptSocket(listener->state());
            if (!socket) break;  // stopping, or cancelled
            const detail::Admitted admitted = listener->admit(*socket);
            if (admitted != detail::Admitted::served) {
                if (admitted == detail::Admitted::refused)
                    scope->spawn_on(listener->home(), refuse, std::move(*socket), listener->options().busy);
                continue;
            }
            const unsigned worker = listener->pick_worker(*socket);
            scope->spawn_on(worker, serve_one<Fn, Args...>, std::move(*socket), fn, args...);
        }
    }

    // A further worker's socket of the port of `first`, which outlives it.
    template <class Fn, class... Args>
    static Task<> serve_shard(const Listener* first, Scope* scope, Fn fn, Args... args) {
        auto listener = join_port(*first);
        co_await accept_loop<Fn, Args...>(&listener.value(), scope, fn, args...);
    }

    template <class Fn, class... Args>
    void start_serving(Scope* scope, const Fn& fn, const Args&... args) {
        scope->spawn_on(home(), accept_loop<Fn, Args...>, this, scope, fn, args...);
        if (spread() != Spread::reuse_port) return;
        for (unsigned worker = 0; worker < Runtime::current().workers(); ++worker)
            if (worker != home()) scope->spawn_on(worker, serve_shard<Fn, Args...>, this, scope, fn, args...);
    }

    detail::ListenerState* state_ = nullptr;
};

class [[nodiscard]] BindOp {
public:
    BindOp(Result<Address> address, ListenOptions options) noexcept;
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    Result<Listener> await_resume() noexcept;

private:
    Result<Address> address_;
    ListenOptions options_;
};

CHAINRING_END_NAMESPACE
