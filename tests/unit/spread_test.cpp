// SPDX-License-Identifier: BSL-1.0
// Spreading connections: over the workers of a Listener, and over Listeners that share a port.
#include "tests/unit/support.hpp"

#include <array>
#include <atomic>
#include <unistd.h>
#include <vector>

using namespace support;

namespace {

// How many connections each of up to three workers serves.
using PerWorker = std::array<std::atomic<int>, 3>;

Task<> count(Link link, PerWorker* served) {
    CHECK(link.home() == Runtime::current_worker());
    ++(*served)[link.home()];
    while (auto chunk = co_await link.recv()) chunk->consume(chunk->size());
}

Task<> serve_counting(Listener* listener, PerWorker* served) {
    co_await listener->serve(count, served);
}

}  // namespace

TEST_CASE("a port is shared by those who all say so, and every one of them is given connections") {
    in_runtime([]() -> Task<> {
        ListenOptions shared;
        shared.share_port = true;
        auto first = (co_await Listener::bind("127.0.0.1:0", shared)).value();
        shared.spread = Spread::reuse_port;
        auto second = (co_await Listener::bind(first.address(), shared)).value();
        CHECK(second.address() == first.address());
        CHECK((co_await Listener::bind(first.address())).error() == std::errc::address_in_use);
        auto alone = (co_await Listener::bind("127.0.0.1:0")).value();
        CHECK((co_await Listener::bind(alone.address(), shared)).error() == std::errc::address_in_use);
        CHECK((co_await Listener::bind("unix:@chainring-share-port", shared)).error() == Errc::not_supported);

        std::array<int, 2> served{};
        Scope serving;
        const auto count = [](Link link, int* number) -> Task<> {
            ++*number;
            (void)co_await link.recv();
        };
        const auto serve = [](Listener* listener, auto handler, int* number) -> Task<> {
            co_await listener->serve(handler, number);
        };
        serving.spawn(serve, &first, count, &served[0]);
        serving.spawn(serve, &second, count, &served[1]);
        std::vector<Link> links;
        // The kernel's choice is a hash: that one of two gets none of many has no probability worth the name.
        while (links.size() < 200 && (served[0] == 0 || served[1] == 0)) {
            links.push_back((co_await Link::connect(first.address())).value());
            co_await passes(3);
        }
        CHECK(served[0] > 0);
        CHECK(served[1] > 0);
        links.clear();
        serving.cancel();
        co_await serving.join();
    });
}

TEST_CASE("round robin spreads connections evenly over the workers") {
    RuntimeOptions options = one_worker();
    options.workers = 3;
    in_runtime_with(options, []() -> Task<> {
        for (const Spread spread : {Spread::round_robin, Spread::least_loaded}) {
            ListenOptions listening;
            listening.spread = spread;
            auto listener = (co_await Listener::bind("127.0.0.1:0", listening)).value();
            PerWorker at{};
            Scope serving;
            serving.spawn(serve_counting, &listener, &at);
            std::vector<Link> links;
            for (int client = 0; client < 30; ++client)
                links.push_back((co_await Link::connect(listener.address())).value());
            while (at[0] + at[1] + at[2] < 30) co_await sleep_for(100us);
            if (spread == Spread::round_robin)
                for (const auto& count : at) CHECK(count == 10);
            else  // the clients' ends live on worker 0, which therefore gets no more than its share
                CHECK(at[0] <= 10);
            links.clear();
            serving.cancel();
            co_await serving.join();
        }
    });
}

TEST_CASE("by_peer gives all connections of a peer to one worker") {
    RuntimeOptions options = one_worker();
    options.workers = 3;
    in_runtime_with(options, []() -> Task<> {
        ListenOptions listening;
        listening.spread = Spread::by_peer;
        auto listener = (co_await Listener::bind("127.0.0.1:0", listening)).value();
        auto unix_listener =
            (co_await Listener::bind("unix:@chainring-by-peer-" + std::to_string(::getpid()), listening)).value();
        for (Listener* target : {&listener, &unix_listener}) {
            PerWorker at{};
            Scope serving;
            serving.spawn(serve_counting, target, &at);
            std::vector<Link> links;
            for (int client = 0; client < 12; ++client)
                links.push_back((co_await Link::connect(target->address())).value());
            while (at[0] + at[1] + at[2] < 12) co_await sleep_for(100us);
            CHECK((at[0] == 12 || at[1] == 12 || at[2] == 12));
            links.clear();
            serving.cancel();
            co_await serving.join();
        }
    });
}

TEST_CASE("with reuse_port every worker listens and serves") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        ListenOptions listening;
        listening.spread = Spread::reuse_port;
        auto listener = (co_await Listener::bind("127.0.0.1:0", listening)).value();
        PerWorker at{};
        Scope serving;
        serving.spawn(serve_counting, &listener, &at);
        co_await sleep_for(5ms);
        std::vector<Link> links;
        for (int client = 0; client < 64; ++client)
            links.push_back((co_await Link::connect(listener.address())).value());
        while (at[0] + at[1] < 64) co_await sleep_for(100us);
        CHECK(at[0] > 0);
        CHECK(at[1] > 0);
        links.clear();
        serving.cancel();
        co_await serving.join();
    });
}
