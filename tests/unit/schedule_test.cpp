// SPDX-License-Identifier: BSL-1.0
// Where tasks run: affinity, stealing, injection, Links used away from home.
#include "tests/unit/support.hpp"

#include <atomic>
#include <thread>
#include <vector>

using namespace support;

namespace {

RuntimeOptions workers(unsigned count, Steal steal) {
    RuntimeOptions options = one_worker();
    options.workers = count;
    options.steal = steal;
    return options;
}

// Keeps the worker busy, as work does.
void burn(Duration duration) {
    const auto until = std::chrono::steady_clock::now() + duration;
    while (std::chrono::steady_clock::now() < until) {
    }
}

std::uint64_t steals() {
    std::uint64_t sum = 0;
    for (unsigned worker = 0; worker < Runtime::current().workers(); ++worker)
        sum += Runtime::current().metrics(worker).steals;
    return sum;
}

Task<> echo_lines(Link* link, int lines) {
    for (; lines > 0; --lines) {
        auto line = co_await link->recv_until("\n", 100);
        if (!line) break;
        co_await yield();
        auto sent = co_await link->send(*line);
        if (!sent) break;
    }
}

}  // namespace

TEST_CASE("resume_on goes to a worker and stays there; stay_here and roam bind and loose") {
    in_runtime_with(workers(3, Steal::eager), []() -> Task<> {
        for (unsigned round = 0; round < 300; ++round) {
            co_await resume_on(round % 3);
            CHECK(Runtime::current_worker() == round % 3);
            co_await yield();
            CHECK(Runtime::current_worker() == round % 3);
        }
        Scope scope;
        for (unsigned child = 0; child < 30; ++child)
            scope.spawn(
                [](unsigned index) -> Task<> {
                    if (index % 2) co_await resume_on(index % 3);
                    stay_here();
                    const unsigned here = Runtime::current_worker();
                    for (int hop = 0; hop < 50; ++hop) {
                        co_await yield();
                        CHECK(Runtime::current_worker() == here);
                    }
                    roam();
                    co_await yield();
                },
                child);
        co_await scope.join();
    });
}

TEST_CASE("an idle worker steals what waits behind a busy task") {
    for (const Steal steal : {Steal::eager, Steal::overloaded}) {
        in_runtime_with(workers(2, steal), []() -> Task<> {
            // Until it has happened: on a loaded machine the other worker may not get a CPU for a while.
            std::atomic<int> elsewhere{0};
            for (int round = 0; round < 400 && elsewhere == 0; ++round) {
                Scope scope;
                for (int child = 0; child < 20; ++child)
                    scope.spawn(
                        [](std::atomic<int>* count) -> Task<> {
                            if (Runtime::current_worker() != 0) ++*count;
                            burn(500us);
                            co_return;
                        },
                        &elsewhere);
                co_await scope.join();
            }
            CHECK(elsewhere > 0);
            CHECK(steals() > 0);
        });
    }
}

TEST_CASE("with Steal::never every task stays where it was spawned") {
    in_runtime_with(workers(2, Steal::never), []() -> Task<> {
        std::atomic<int> elsewhere{0};
        Scope scope;
        for (int child = 0; child < 50; ++child)
            scope.spawn(
                [](std::atomic<int>* count) -> Task<> {
                    burn(50us);
                    co_await yield();
                    if (Runtime::current_worker() != 0) ++*count;
                },
                &elsewhere);
        co_await scope.join();
        CHECK(elsewhere == 0);
        CHECK(steals() == 0);
    });
}

TEST_CASE("tasks from foreign threads go to whoever has room, each once" * not_simulated()) {
    for (const Steal steal : {Steal::never, Steal::overloaded, Steal::eager}) {
        in_runtime_with(workers(2, steal), []() -> Task<> {
            constexpr int threads = 3;
            constexpr int each = 3000;
            Runtime& runtime = Runtime::current();
            std::atomic<int> ran{0};
            std::vector<std::thread> foreign;
            for (int thread = 0; thread < threads; ++thread)
                foreign.emplace_back([&runtime, &ran] {
                    for (int task = 0; task < each; ++task)
                        runtime.root().spawn(
                            [](std::atomic<int>* count) -> Task<> {
                                ++*count;
                                co_return;
                            },
                            &ran);
                });
            while (ran < threads * each) co_await sleep_for(100us);
            for (std::thread& thread : foreign) thread.join();
            CHECK(ran == threads * each);
        });
    }
}

TEST_CASE("a Link is used from any worker; its task comes home to it, one with an affinity goes back") {
    in_runtime_with(workers(3, Steal::eager), []() -> Task<> {
        auto pair = co_await connected();
        Event first_is_in;
        Scope scope;
        scope.spawn_on(
            1,
            [](Link* link, Event* first) -> Task<> {
                roam();
                auto chunk = co_await link->recv();
                first->set();
                CHECK(chunk.value().to_string() == "one");
                CHECK(Runtime::current_worker() < 3);
                co_await resume_on(2);
                for (int round = 0; round < 50; ++round) {
                    auto line = co_await link->recv_until("\n", 100);
                    CHECK(line.value() == std::to_string(round));
                    CHECK(Runtime::current_worker() == 2);
                    (void)co_await link->send(*line + "\n");
                    CHECK(Runtime::current_worker() == 2);
                }
                std::byte four[4];
                auto exact = co_await link->recv_exact(four);
                CHECK(exact.has_value());
                auto late = co_await link->recv().within(1ms);
                CHECK(late.error() == Errc::timed_out);
                co_await link->close();
                CHECK(Runtime::current_worker() == 2);
            },
            &pair.near, &first_is_in);
        (void)co_await pair.far.send("one");
        (void)co_await first_is_in.wait();  // what is sent from here on is not part of the first
        for (int round = 0; round < 50; ++round) {
            (void)co_await pair.far.send(std::to_string(round) + "\n");
            auto back = co_await pair.far.recv_until("\n", 100);
            CHECK(back.value() == std::to_string(round));
        }
        (void)co_await pair.far.send("four");
        auto end = co_await pair.far.recv();
        CHECK(end.error() == Errc::eof);
        co_await scope.join();
    });
}

TEST_CASE("many Links whose tasks are stolen all the time lose and reorder nothing") {
    in_runtime_with(workers(3, Steal::eager), []() -> Task<> {
        constexpr int links = 24;
        constexpr int lines = 200;
        std::vector<Pair> pairs;
        for (int link = 0; link < links; ++link) pairs.push_back(co_await connected());
        std::atomic<int> good{0};
        Scope scope;
        for (Pair& pair : pairs) {
            scope.spawn(echo_lines, &pair.near, lines);
            scope.spawn(
                [](Link* link, std::atomic<int>* right) -> Task<> {
                    for (int line = 0; line < lines; ++line) {
                        const std::string text = "line " + std::to_string(line);
                        (void)co_await link->send(text + "\n");
                        std::string back(text.size(), ' ');
                        auto got = co_await link->recv_exact(std::as_writable_bytes(std::span(back)));
                        if (got && back == text) ++*right;
                        if (line % 16 == 0) burn(20us);
                    }
                },
                &pair.far, &good);
        }
        co_await scope.join();
        CHECK(good == links * lines);
        MESSAGE("steals: " << steals());
    });
}

TEST_CASE("cancelling tasks that roam reaches each of them") {
    in_runtime_with(workers(3, Steal::eager), []() -> Task<> {
        for (int round = 0; round < 300; ++round) {
            std::atomic<int> ended{0};
            Semaphore permits(1);
            Scope scope;
            for (int child = 0; child < 20; ++child)
                scope.spawn(
                    [](std::atomic<int>* count, Semaphore* shared) -> Task<> {
                        for (bool more = true; more;) {
                            auto permit = co_await shared->acquire();
                            if (permit) {
                                more = co_await yield();
                                shared->release();
                            } else {
                                more = false;
                            }
                        }
                        ++*count;
                    },
                    &ended, &permits);
            for (int pause = round % 5; pause > 0; --pause) co_await yield();
            scope.cancel();
            co_await scope.join();
            CHECK(ended == 20);
            CHECK(permits.available() == 1);
        }
    });
}

TEST_CASE("a task that yields for ever delays I/O, timers and posts by one budget of tasks at most") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        bool stop = false;
        Scope scope;
        for (int busy = 0; busy < 200; ++busy)
            scope.spawn(
                [](bool* end) -> Task<> {
                    while (!*end) co_await yield();
                },
                &stop);
        co_await passes(2);
        const std::uint64_t before = metrics().passes;
        (void)co_await pair.far.send("x");
        auto chunk = co_await pair.near.recv();
        CHECK(chunk.has_value());
        (void)co_await sleep_for(1us);
        // 200 runnable tasks are four passes; each wait costs its own few.
        CHECK(metrics().passes - before < 40);
        stop = true;
        co_await scope.join();
    });
}
