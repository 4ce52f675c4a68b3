// SPDX-License-Identifier: BSL-1.0
// Asio's rows; see rows.hpp: coroutines, co_spawn and concurrent channels. One io_context run by as many threads as
// there are workers, but for hop and pingpong: there each worker is an io_context with a thread of its own. Executors
// are io_context's own type, which is cheaper than any_io_executor, the default.
#include "tests/bench/scheduler/rows.hpp"

#include <asio.hpp>
#include <asio/experimental/concurrent_channel.hpp>
#include <memory>

namespace {

using rows::Outcome;
using rows::Stopwatch;
using Executor = asio::io_context::executor_type;
template <class T = void>
using Awaitable = asio::awaitable<T, Executor>;
using Channel = asio::experimental::concurrent_channel<Executor, void(std::error_code, int)>;

constexpr asio::use_awaitable_t<Executor> use_awaitable;

// ---- spawn and join

Awaitable<> nothing() {
    co_return;
}

// Wakes who joins when the last child has ended.
class Join {
public:
    Join(const Executor& executor, std::size_t children) : left_(children), none_left_(executor, 1) {}
    void child_ended() {
        if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) none_left_.try_send(std::error_code(), 0);
    }
    auto wait() { return none_left_.async_receive(use_awaitable); }

private:
    std::atomic<std::size_t> left_;
    Channel none_left_;
};

Awaitable<> batches(std::size_t count) {
    const Executor executor = co_await asio::this_coro::executor;
    for (std::size_t at = 0; at < count; ++at) {
        Join join(executor, rows::batch);
        for (std::size_t child = 0; child < rows::batch; ++child)
            asio::co_spawn(executor, nothing(), [&join](const std::exception_ptr&) { join.child_ended(); });
        co_await join.wait();
    }
}

Awaitable<> spawn(std::size_t size, Outcome* outcome) {
    co_await batches(size / 10 + 1);
    const Stopwatch stopwatch;
    co_await batches(size);
    *outcome = stopwatch.lap(size * rows::batch);
}

// ---- yield

Awaitable<> yielder(std::size_t times) {
    const Executor executor = co_await asio::this_coro::executor;
    for (std::size_t at = 0; at < times; ++at) co_await asio::post(executor, use_awaitable);
}

Awaitable<> yielders(std::size_t times) {
    const Executor executor = co_await asio::this_coro::executor;
    Join join(executor, rows::batch);
    for (std::size_t task = 0; task < rows::batch; ++task)
        asio::co_spawn(executor, yielder(times), [&join](const std::exception_ptr&) { join.child_ended(); });
    co_await join.wait();
}

Awaitable<> yields(std::size_t size, Outcome* outcome) {
    co_await yielders(size / 10 + 1);
    const Stopwatch stopwatch;
    co_await yielders(size);
    *outcome = stopwatch.lap(size * rows::batch);
}

// ---- hop

Awaitable<> there_and_back(const Executor& one, const Executor& other, std::size_t times) {
    for (std::size_t at = 0; at < times; ++at) {
        co_await asio::post(asio::bind_executor(other, use_awaitable));
        co_await asio::post(asio::bind_executor(one, use_awaitable));
    }
}

Awaitable<> hop(Executor one, Executor other, std::size_t size, Outcome* outcome) {
    co_await there_and_back(one, other, size / 10 + 1);
    const Stopwatch stopwatch;
    co_await there_and_back(one, other, size);
    *outcome = stopwatch.lap(2 * size);
}

// ---- ping-pong

Awaitable<> player(Channel& from, Channel& to, std::size_t times) {
    for (std::size_t at = 0; at < times; ++at) {
        const int ball = co_await from.async_receive(use_awaitable);
        co_await to.async_send(std::error_code(), ball, use_awaitable);
    }
}

Awaitable<> play(const Executor& one, const Executor& other, std::size_t times) {
    const Executor executor = co_await asio::this_coro::executor;
    Channel there(one, 1), back(other, 1);
    Join join(executor, 2);
    const auto ended = [&join](const std::exception_ptr&) { join.child_ended(); };
    asio::co_spawn(one, player(there, back, times), ended);
    asio::co_spawn(other, player(back, there, times), ended);
    there.try_send(std::error_code(), 1);
    co_await join.wait();
}

Awaitable<> ping_pong(Executor one, Executor other, std::size_t size, Outcome* outcome) {
    co_await play(one, other, size / 10 + 1);
    const Stopwatch stopwatch;
    co_await play(one, other, size);
    *outcome = stopwatch.lap(2 * size);
}

// ---- injection

Awaitable<> count_down(rows::Countdown* countdown) {
    countdown->task_ended();
    co_return;
}

Outcome inject(asio::io_context& context, std::size_t size, unsigned threads) {
    return rows::inject(size, threads, [&](rows::Countdown& countdown) {
        asio::co_spawn(context, count_down(&countdown), asio::detached);
    });
}

// ---- the program

// io_contexts, each run by `threads` threads until it is destroyed.
class Workers {
public:
    Workers(unsigned contexts, unsigned threads) {
        for (unsigned at = 0; at < contexts; ++at) {
            contexts_.push_back(std::make_unique<asio::io_context>(static_cast<int>(threads)));
            guards_.push_back(asio::make_work_guard(*contexts_.back()));
            for (unsigned thread = 0; thread < threads; ++thread)
                threads_.emplace_back([context = contexts_.back().get()] { context->run(); });
        }
    }
    ~Workers() {
        guards_.clear();
        for (std::thread& thread : threads_) thread.join();
    }
    asio::io_context& context(std::size_t index = 0) { return *contexts_[index]; }
    Executor executor(std::size_t index = 0) { return contexts_[index]->get_executor(); }

    // Runs it on the first context, and waits for its end.
    Outcome run(Awaitable<> measurement, Outcome& outcome) {
        rows::Countdown countdown;
        countdown.reset(1);
        asio::co_spawn(context(), std::move(measurement),
                       [&countdown](const std::exception_ptr&) { countdown.task_ended(); });
        countdown.wait();
        return outcome;
    }

private:
    std::vector<std::unique_ptr<asio::io_context>> contexts_;
    std::vector<asio::executor_work_guard<Executor>> guards_;
    std::vector<std::thread> threads_;
};

Outcome run(const rows::Arguments& arguments) {
    const std::string_view row = arguments.row;
    const std::size_t size = arguments.size;
    Outcome outcome;
    if (row == "hop" || row == "pingpong") {
        if (arguments.workers < 2) return {};
        Workers workers(2, 1);
        const Executor one = workers.executor(0), other = workers.executor(1);
        return workers.run(row == "hop" ? hop(one, other, size, &outcome) : ping_pong(one, other, size, &outcome),
                           outcome);
    }
    Workers workers(1, arguments.workers);
    const Executor any = workers.executor();
    if (row == "spawn") return workers.run(spawn(size, &outcome), outcome);
    if (row == "yield") return workers.run(yields(size, &outcome), outcome);
    if (row == "pingpong_free") return workers.run(ping_pong(any, any, size, &outcome), outcome);
    if (row == "inject1" || row == "inject4") return inject(workers.context(), size, row == "inject4" ? 4 : 1);
    return {};
}

}  // namespace

int main(int argc, char** argv) {
    return rows::report(run(rows::arguments(argc, argv)));
}
