// SPDX-License-Identifier: BSL-1.0
// Does one thing so many times, for ./run to count its instructions under callgrind:
//
//     bench_costs OPERATION ROUNDS
//
// Prints how many operations that were. What an operation is, the comment above its function says; kernel.hpp, why a
// run is the same each time. On the epoll backend, except for those whose name ends in uring (exit status 77 where
// there is none).
#include <chainring/chainring.hpp>
#include <chainring/channel.hpp>
#include <chainring/event.hpp>
#include <chainring/mutex.hpp>
#include <chainring/schedule.hpp>

#include "tests/bench/costs/kernel.hpp"
#include "tests/bench/costs/sockets.hpp"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t batch = 32;
constexpr std::size_t message_size = 64;

struct Run {
    std::size_t rounds;
    std::size_t operations = 0;  // done
};

// ---- echo: a request of 64 bytes and its answer, by the coroutine of samples/echo.cpp

Task<> echo(Link link) {
    while (auto chunk = co_await link.recv().within(10min))
        if (!co_await link.forward(std::move(*chunk))) break;
}

Task<> echo_without_limit(Link link) {
    while (auto chunk = co_await link.recv())
        if (!co_await link.forward(std::move(*chunk))) break;
}

// Sends a request on each connection, takes the answers when all are there, and so on; then closes them.
class Client final : public costs::Peer {
public:
    Client(const std::vector<int>& sockets, std::size_t rounds) : sockets_(sockets), rounds_(rounds) {}

    int play() noexcept override {
        for (; answered_ < asked_; ++answered_) {
            std::array<char, message_size> answer;
            const ssize_t got = ::recv(sockets_[answered_], answer.data(), answer.size(), MSG_DONTWAIT);
            if (got != ssize_t{message_size}) return 0;
        }
        asked_ = answered_ = 0;
        if (rounds_ == 0) {
            for (const int socket : sockets_) ::shutdown(socket, SHUT_WR);
            costs::set_peer(nullptr);
            return static_cast<int>(sockets_.size());
        }
        --rounds_;
        constexpr std::array<char, message_size> request{};
        for (const int socket : sockets_)
            costs::require(::send(socket, request.data(), request.size(), 0) == ssize_t{message_size}, "send");
        asked_ = sockets_.size();
        costs::let_time_pass(std::chrono::microseconds(asked_));
        return static_cast<int>(asked_);
    }

private:
    const std::vector<int>& sockets_;
    std::size_t rounds_;
    std::size_t asked_ = 0;
    std::size_t answered_ = 0;
};

Task<> serve(Run& run, std::size_t count, Task<> (*handler)(Link)) {
    costs::Connections connections(count);
    Client client(connections.far, run.rounds);
    Scope scope;
    for (const int fd : connections.near) scope.spawn(handler, Link::adopt(fd).value());
    costs::set_peer(&client);
    co_await scope.join();
    run.operations = run.rounds * count;
}

Task<> echo_32(Run& run) {
    return serve(run, batch, echo);
}

// The same with one connection, so that each request costs a pass of the loop.
Task<> echo_1(Run& run) {
    return serve(run, 1, echo);
}

// Without `.within(10min)`.
Task<> echo_no_limit(Run& run) {
    return serve(run, batch, echo_without_limit);
}

// ---- call: co_await of a coroutine that does nothing

Task<> nothing() {
    co_return;
}

Task<> call(Run& run) {
    for (std::size_t at = 0; at < run.rounds; ++at) co_await nothing();
    run.operations = run.rounds;
}

// ---- spawn: a child in a Scope, that does nothing, and its part of joining them all

Task<> spawn(Run& run) {
    for (std::size_t at = 0; at < run.rounds; ++at) {
        Scope scope;
        for (std::size_t child = 0; child < batch; ++child) scope.spawn(nothing);
        co_await scope.join();
    }
    run.operations = run.rounds * batch;
}

// ---- yield

Task<> yielder(std::size_t times) {
    for (std::size_t at = 0; at < times; ++at) co_await chainring::yield();
}

Task<> yields(Run& run) {
    Scope scope;
    for (std::size_t task = 0; task < batch; ++task) scope.spawn(yielder, run.rounds);
    co_await scope.join();
    run.operations = run.rounds * batch;
}

// ---- hop: resume_on the other worker, which sleeps and is woken

Task<> hop(Run& run) {
    co_await resume_on(1);
    co_await resume_on(0);
    costs::lock_step(true);
    for (std::size_t at = 0; at < run.rounds; ++at) {
        co_await resume_on(1);
        co_await resume_on(0);
    }
    costs::lock_step(false);
    run.operations = 2 * run.rounds;
}

// ---- channel: a message through a channel with room for 64, sending and receiving

Task<> producer(Channel<int>& channel, std::size_t count) {
    for (std::size_t at = 0; at < count; ++at) (co_await channel.send(1)).value();
    channel.close();
}

Task<> channel(Run& run) {
    Channel<int> messages(64);
    Scope scope;
    scope.spawn(producer, std::ref(messages), run.rounds);
    while (auto message = co_await messages.recv()) run.operations += 1;
    co_await scope.join();
}

// ---- handover: the same with room for one, each message for a receiver that waits

Task<> player(Channel<int>& from, Channel<int>& to, std::size_t times) {
    for (std::size_t at = 0; at < times; ++at) {
        auto ball = co_await from.recv();
        (co_await to.send(*ball)).value();
    }
}

Task<> handover(Run& run) {
    Channel<int> there(1), back(1);
    Scope scope;
    scope.spawn(player, std::ref(there), std::ref(back), run.rounds);
    scope.spawn(player, std::ref(back), std::ref(there), run.rounds);
    there.try_send(1);
    co_await scope.join();
    run.operations = 2 * run.rounds;
}

// ---- lock: a Mutex that is free, and its release

Task<> lock(Run& run) {
    Mutex mutex;
    for (std::size_t at = 0; at < run.rounds; ++at) {
        auto held = co_await mutex.lock();
        held.value();
    }
    run.operations = run.rounds;
}

// ---- event: waiting until another task sets it, that task's part and the reset

Task<> setter(Event& event, std::size_t times) {
    for (std::size_t at = 0; at < times; ++at) {
        event.set();
        co_await chainring::yield();
    }
}

Task<> event(Run& run) {
    Event ready;
    Scope scope;
    scope.spawn(setter, std::ref(ready), run.rounds);
    for (; run.operations < run.rounds; ++run.operations) {
        (co_await ready.wait()).value();
        ready.reset();
    }
    co_await scope.join();
}

// ---- event_limit: the same with `.within(30s)`: a timer set and taken back

Task<> event_limit(Run& run) {
    Event ready;
    Scope scope;
    scope.spawn(setter, std::ref(ready), run.rounds);
    for (; run.operations < run.rounds; ++run.operations) {
        (co_await ready.wait().within(30s)).value();
        ready.reset();
    }
    co_await scope.join();
}

// ---- sleep: a pause that ends in its time, a pass of the loop for each

Task<> sleeper(std::size_t times, Duration pause) {
    for (std::size_t at = 0; at < times; ++at) co_await sleep_for(pause);
}

Task<> sleeps(Run& run) {
    Scope scope;
    for (std::size_t task = 0; task < batch; ++task) scope.spawn(sleeper, run.rounds, Duration(10ms + task * 37us));
    co_await scope.join();
    run.operations = run.rounds * batch;
}

// ---- post: 64 shared bytes by Outbox::post, one to each of 32 Links, until the kernel has them

extern "C" [[gnu::noinline]] void costs_uncounted_receive(const std::vector<int>& sockets) {
    for (const int socket : sockets) {
        std::array<char, message_size> message;
        costs::require(::recv(socket, message.data(), message.size(), MSG_WAITALL) == ssize_t{message_size}, "recv");
    }
}

Task<> post(Run& run) {
    costs::Connections connections(batch);
    std::vector<Link> links;
    std::vector<Outbox> outboxes;
    for (const int fd : connections.near) {
        links.push_back(Link::adopt(fd).value());
        outboxes.push_back(links.back().outbox());
    }
    const Payload payload(std::string(message_size, 'x'));
    for (std::size_t at = 0; at < run.rounds; ++at) {
        for (const Outbox& outbox : outboxes) costs::require(outbox.post(payload) == Posted::queued, "post");
        (co_await outboxes.back().drained()).value();
        costs_uncounted_receive(connections.far);
    }
    run.operations = run.rounds * batch;
}

// ---- the program

struct Operation {
    std::string_view name;
    Task<> (*task)(Run& run);
    unsigned workers = 1;
    BackendKind backend = BackendKind::epoll;
};

constexpr Operation all[] = {
    {"echo", echo_32},
    {"echo_1", echo_1},
    {"echo_no_limit", echo_no_limit},
    {"echo_uring", echo_32, 1, BackendKind::uring},
    {"echo_1_uring", echo_1, 1, BackendKind::uring},
    {"post", post},
    {"call", call},
    {"spawn", spawn},
    {"yield", yields},
    {"hop", hop, 2},
    {"channel", channel},
    {"handover", handover},
    {"lock", lock},
    {"event", event},
    {"event_limit", event_limit},
    {"sleep", sleeps},
};

int count(const Operation& operation, std::size_t rounds) {
    Run run{.rounds = rounds};
    RuntimeOptions options;
    options.workers = operation.workers;
    options.backend = operation.backend;
    options.spin = 0s;
    std::optional<Runtime> runtime;
    try {
        runtime.emplace(options);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 77;
    }
    runtime->run(operation.task, std::ref(run));
    std::printf("%zu\n", run.operations);
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc == 3)
        for (const Operation& operation : all)
            if (operation.name == argv[1]) return count(operation, std::strtoul(argv[2], nullptr, 10));
    std::fprintf(stderr, "usage: %s OPERATION ROUNDS\noperations:", argv[0]);
    for (const Operation& operation : all) std::fprintf(stderr, " %s", operation.name.data());
    std::fprintf(stderr, "\n");
    return 2;
}
