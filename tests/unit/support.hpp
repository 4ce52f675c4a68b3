// SPDX-License-Identifier: BSL-1.0
// What the unit tests share: running a coroutine in a runtime on the backend under test, a pair of connected Links, and
// a payload type that counts its copies.
#pragma once

#include <chainring/chainring.hpp>

#include "tests/unit/plain_socket.hpp"

#include <atomic>
#include <cstdlib>
#include <doctest/doctest.h>
#include <string>
#include <string_view>
#include <utility>

namespace support {

using namespace chainring;
using namespace std::chrono_literals;

// "io_uring", "epoll", or empty when the choice is left to the runtime.
inline std::string wanted_backend() {
    const char* name = std::getenv("CHAINRING_BACKEND");
    if (!name) return {};
    return std::string_view(name) == "uring" ? "io_uring" : name;
}

// In a world that is shuffled and misbehaves, as CHAINRING_SEED asks for: pieces come in any size, tasks in any order.
inline bool misbehaves() {
    const char* seed = std::getenv("CHAINRING_SEED");
    return wanted_backend() == "sim" && seed && *seed;
}
inline auto not_misbehaving() {
    return doctest::skip(misbehaves());
}

// Decorates tests that need what a simulated world has not: foreign threads, descriptors or signals of the real system.
inline auto not_simulated() {
    return doctest::skip(wanted_backend() == "sim");
}

inline RuntimeOptions one_worker() {
    RuntimeOptions options;
    options.workers = 1;
    options.stop_grace = 5s;
    return options;
}

// Runs fn(args...), a Task<>, to its end, checks that it really ran on the backend asked for, and that nothing was
// left.
template <class Fn, class... Args>
void in_runtime_with(const RuntimeOptions& options, Fn&& fn, Args&&... args) {
    Runtime runtime(options);
    if (!wanted_backend().empty()) REQUIRE(runtime.backend_name() == wanted_backend());
    runtime.run(std::forward<Fn>(fn), std::forward<Args>(args)...);
    for (unsigned worker = 0; worker < runtime.workers(); ++worker) {
        const WorkerMetrics metrics = runtime.metrics(worker);
        CHECK(metrics.operations == 0);
        CHECK(metrics.buffers_lent == 0);
        CHECK(metrics.links == 0);
    }
}

template <class Fn, class... Args>
void in_runtime(Fn&& fn, Args&&... args) {
    in_runtime_with(one_worker(), std::forward<Fn>(fn), std::forward<Args>(args)...);
}

using plain::descriptors;

struct Pair {
    Pair() noexcept = default;
    Link near;
    Link far;
};

// Two ends of a TCP connection over loopback, both at home on this worker.
inline Task<Pair> connected() {
    auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
    Pair pair;
    pair.near = (co_await Link::connect(listener.address())).value();
    pair.far = (co_await listener.accept()).value();
    co_return pair;
}

inline WorkerMetrics metrics() {
    return Runtime::current().metrics(Runtime::current_worker());
}

// Lets the loop of this worker go round `count` times, so that everything that was due or posted before has run.
inline Task<> passes(unsigned count) {
    const std::uint64_t until = metrics().passes + count;
    while (metrics().passes < until) co_await yield();
}

// Receives `count` bytes, in as many pieces as they come.
inline Task<std::string> recv_text(Link* link, std::size_t count) {
    std::string text(count, '\0');
    (co_await link->recv_exact(std::as_writable_bytes(std::span(text)))).value();
    co_return text;
}

// Until what was sent before has arrived, in a world where that takes its time: also what was lost and sent again.
inline Task<> arrived() {
    if (misbehaves()) (void)co_await sleep_for(1s);
}

// Counts constructions and destructions, to find objects destroyed twice or never.
struct Counted {
    static inline std::atomic<int> alive{0};
    static inline std::atomic<int> made{0};
    Counted() noexcept { ++alive, ++made; }
    Counted(const Counted&) noexcept { ++alive, ++made; }
    Counted(Counted&&) noexcept { ++alive, ++made; }
    Counted& operator=(const Counted&) noexcept = default;
    Counted& operator=(Counted&&) noexcept = default;
    ~Counted() { --alive; }
};

}  // namespace support
