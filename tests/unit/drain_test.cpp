// SPDX-License-Identifier: BSL-1.0
// The drain at stop, and what ends it.
#include "tests/unit/support.hpp"

#include <atomic>
#include <string>
#include <vector>

using namespace support;

TEST_CASE("at stop, what the kernel had accepted is served and idle receives end with shutting_down") {
    static std::atomic<int> shut_down;
    static std::atomic<int> answered;
    shut_down = answered = 0;
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        const Address address = listener.address();
        std::vector<Link> clients;
        for (int client = 0; client < 5; ++client) {  // connected before anybody accepts
            clients.push_back((co_await Link::connect(address)).value());
            (co_await clients.back().send("question")).value();
        }
        co_await arrived();
        Runtime::current().request_stop();
        co_await listener.serve([](Link link) -> Task<> {
            for (;;) {
                auto chunk = co_await link.recv();
                if (!chunk) {
                    if (chunk.error() == Errc::shutting_down) ++shut_down;
                    break;
                }
                const std::size_t size = chunk->size();
                if (co_await link.send(std::move(*chunk))) answered += static_cast<int>(size);
            }
        });
        for (Link& client : clients) {
            std::string text;
            while (auto chunk = co_await client.recv().ignore_drain()) text += chunk->to_string();
            CHECK(text == "question");
        }
        auto refused = co_await Link::connect(address);
        CHECK(refused.error() == std::errc::connection_refused);
    });
    CHECK(answered == 5 * 8);
    CHECK(shut_down == 5);
}

TEST_CASE("after the grace period what has not ended is cancelled") {
    RuntimeOptions options = one_worker();
    ManualClock clock;
    options.clock = &clock;
    options.stop_grace = 30s;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            Scope scope;
            bool whole = true;
            scope.spawn([](bool* slept) -> Task<> { *slept = co_await sleep_for(1000h); }, &whole);
            Runtime::current().request_stop();
            co_await passes(3);
            CHECK(scope.size() == 1);  // draining cancels nobody
            time->advance(30s);
            co_await scope.join();
            CHECK(!whole);
            CHECK(!co_await sleep_for(1s));
        },
        &clock);
}

TEST_CASE("a second stop request cancels at once") {
    in_runtime([]() -> Task<> {
        Runtime::current().request_stop();
        Runtime::current().request_stop();
        CHECK(!co_await sleep_for(1h));
    });
}
