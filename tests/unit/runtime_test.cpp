// SPDX-License-Identifier: BSL-1.0
// The runtime as a whole: options, backend choice, wake-ups, idleness, embedding.
#include "tests/unit/support.hpp"

#include <atomic>
#include <csignal>
#include <stdexcept>
#include <sys/resource.h>
#include <sys/time.h>
#include <thread>
#include <vector>

using namespace support;

namespace {

Task<> set_flag(bool* flag) {
    *flag = true;
    co_return;
}

std::chrono::microseconds cpu_time() {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const auto of = [](const timeval& time) {
        return std::chrono::seconds(time.tv_sec) + std::chrono::microseconds(time.tv_usec);
    };
    return of(usage.ru_utime) + of(usage.ru_stime);
}

}  // namespace

TEST_CASE("options that cannot be met say what to change") {
    const auto refused = [](auto change) {
        RuntimeOptions options = one_worker();
        change(options);
        try {
            const Runtime runtime(options);
        } catch (const std::invalid_argument& error) {
            return std::string(error.what());
        }
        return std::string();
    };
    CHECK(refused([](RuntimeOptions& options) { options.recv_buffers = 100; }).find("power of two") !=
          std::string::npos);
    CHECK(refused([](RuntimeOptions& options) { options.recv_buffer_size = 1; }).find("recv_buffer_size") !=
          std::string::npos);
    CHECK(refused([](RuntimeOptions& options) { options.ring_entries = 3; }).find("ring_entries") != std::string::npos);
    CHECK(refused([](RuntimeOptions& options) { options.workers = 5000; }).find("workers") != std::string::npos);
    const std::string saved = wanted_backend().empty() ? "" : std::getenv("CHAINRING_BACKEND");
    setenv("CHAINRING_BACKEND", "nonsense", 1);
    CHECK(refused([](RuntimeOptions&) {}).find("nonsense") != std::string::npos);
    setenv("CHAINRING_BACKEND", saved.c_str(), 1);
}

TEST_CASE("one log line says which backend runs and how many workers") {
    static std::string line;
    RuntimeOptions options = one_worker();
    options.log = [](std::string_view text) { line = text; };
    const Runtime runtime(options);
    CHECK(line.find(runtime.backend_name()) != std::string::npos);
    CHECK(line.find("1 worker") != std::string::npos);
}

TEST_CASE("as many workers as asked for run, each on its own thread" * not_simulated()) {
    RuntimeOptions options = one_worker();
    options.workers = 4;
    in_runtime_with(options, []() -> Task<> {
        CHECK(Runtime::current().workers() == 4);
        std::array<std::thread::id, 4> ids{};
        Scope scope;
        for (unsigned worker = 0; worker < 4; ++worker)
            scope.spawn_on(
                worker,
                [](std::thread::id* id) -> Task<> {
                    *id = std::this_thread::get_id();
                    co_return;
                },
                &ids[worker]);
        co_await scope.join();
        for (unsigned left = 0; left < 4; ++left)
            for (unsigned right = left + 1; right < 4; ++right) CHECK(ids[left] != ids[right]);
    });
}

TEST_CASE("a hundred thousand posts between workers are delivered, and wake only a sleeper") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        constexpr int posts = 100'000;
        int done = 0;  // touched by worker 1 only until the join
        Scope scope;
        for (int post = 0; post < posts; ++post)
            scope.spawn_on(
                1,
                [](int* count) -> Task<> {
                    ++*count;
                    co_return;
                },
                &done);
        co_await scope.join();
        CHECK(done == posts);
        const std::uint64_t wakes = Runtime::current().metrics(1).wakes;
        MESSAGE("wakes for " << posts << " posts in one go: " << wakes);
        CHECK(wakes < posts / 10);  // on a machine with nothing else to do, hundreds; tests/stress has the bound of 1 %
    });
}

TEST_CASE("a wake is never lost: ping-pong between two workers that park each time") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        for (int round = 0; round < 20'000; ++round) {
            bool reached = false;
            Scope scope;
            scope.spawn_on(1, set_flag, &reached);
            co_await scope.join();
            if (!reached) FAIL("join came before the child");
        }
    });
}

TEST_CASE("an idle runtime uses no CPU and makes no pass") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        co_await sleep_for(5ms);
        const std::uint64_t passes_before = Runtime::current().metrics(0).passes + Runtime::current().metrics(1).passes;
        const auto cpu_before = cpu_time();
        co_await sleep_for(300ms);
        const std::uint64_t passes_made =
            Runtime::current().metrics(0).passes + Runtime::current().metrics(1).passes - passes_before;
        CHECK(passes_made <= 3);
        CHECK(cpu_time() - cpu_before < 30ms);
    });
}

TEST_CASE("spinning finds work as well as parking does") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    options.spin = 50us;
    in_runtime_with(options, []() -> Task<> {
        for (int round = 0; round < 2000; ++round) {
            bool reached = false;
            Scope scope;
            scope.spawn_on(1, set_flag, &reached);
            co_await scope.join();
            if (!reached) FAIL("join came before the child");
        }
        auto pair = co_await connected();
        (co_await pair.near.send("through")).value();
        CHECK((co_await pair.far.recv()).value().to_string() == "through");
        co_await sleep_for(5ms);
    });
}

TEST_CASE("SIGTERM requests the stop, and the old handler comes back" * not_simulated()) {
    static std::atomic<int> foreign{0};
    struct sigaction mine {};
    struct sigaction old {};
    mine.sa_handler = [](int) { ++foreign; };
    sigaction(SIGTERM, &mine, &old);
    RuntimeOptions options = one_worker();
    options.handle_signals = true;
    in_runtime_with(options, []() -> Task<> {
        CHECK(!Runtime::current().stop_requested());
        std::raise(SIGTERM);
        CHECK(Runtime::current().stop_requested());
        std::raise(SIGTERM);  // the second means now
        CHECK(!co_await sleep_for(1h));
    });
    CHECK(foreign == 0);
    std::raise(SIGTERM);
    CHECK(foreign == 1);
    sigaction(SIGTERM, &old, nullptr);
}

TEST_CASE("two runtimes in one process do not know each other" * not_simulated()) {
    std::thread other([] { in_runtime([]() -> Task<> { co_await sleep_for(20ms); }); });
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("here")).value();
        CHECK((co_await pair.far.recv()).value().to_string() == "here");
        co_await sleep_for(10ms);
    });
    other.join();
}

TEST_CASE("a small submission queue loses no operation") {
    RuntimeOptions options = one_worker();
    options.ring_entries = 32;
    in_runtime_with(options, []() -> Task<> {
        std::vector<Pair> pairs;
        for (int made = 0; made < 300; ++made) pairs.push_back(co_await connected());
        int ended = 0;
        Scope scope;
        for (Pair& pair : pairs)
            scope.spawn(
                [](Link* link, int* count) -> Task<> {
                    auto nothing = co_await link->recv().within(20ms);
                    if (nothing.error() == Errc::timed_out) ++*count;
                },
                &pair.near, &ended);
        co_await scope.join();
        CHECK(ended == 300);
        for (Pair& pair : pairs) (co_await pair.far.send("x")).value();
        for (Pair& pair : pairs) CHECK((co_await pair.near.recv()).value().size() == 1);
    });
}

TEST_CASE("few receive buffers are enough: starved Links are fed as buffers come back") {
    RuntimeOptions options = one_worker();
    options.recv_buffers = 4;
    options.recv_buffer_size = 1024;
    in_runtime_with(options, []() -> Task<> {
        std::vector<Pair> pairs;
        for (int made = 0; made < 50; ++made) pairs.push_back(co_await connected());
        const std::string block(100'000, 'b');
        std::size_t received = 0;
        Scope scope;
        for (Pair& pair : pairs) {
            scope.spawn(
                [](Link* link, const std::string* data) -> Task<> {
                    (co_await link->send(*data)).value();
                    (co_await link->shutdown_write()).value();
                },
                &pair.near, &block);
            scope.spawn(
                [](Link* link, std::size_t* total) -> Task<> {
                    while (auto chunk = co_await link->recv()) *total += chunk->size();
                },
                &pair.far, &received);
        }
        co_await scope.join();
        CHECK(received == 50 * block.size());
    });
}

TEST_CASE("a Chunk may be given back on a foreign thread" * not_simulated()) {
    RuntimeOptions options = one_worker();
    options.recv_buffers = 2;
    in_runtime_with(options, []() -> Task<> {
        auto pair = co_await connected();
        for (int round = 0; round < 200; ++round) {
            (co_await pair.near.send("some bytes")).value();
            auto chunk = (co_await pair.far.recv().within(5s)).value();
            std::thread elsewhere([kept = std::move(chunk)]() mutable { kept = Chunk(); });
            elsewhere.join();
        }
        co_await passes(3);
    });
}
