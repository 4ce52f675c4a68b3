// SPDX-License-Identifier: BSL-1.0
// An empty pool of receive buffers: in which order those who wait for one are fed, and what a burst is handed over as.
#include "tests/unit/support.hpp"

#include <algorithm>
#include <string>
#include <vector>

using namespace support;

namespace {

constexpr std::size_t all_of_one = 64 * 1024;  // what a Link is sent: it takes every buffer there is

struct Feast {
    std::vector<unsigned> done;  // who has received everything, in order
};

Task<> eat(Link* link, unsigned number, Feast* feast) {
    for (std::size_t eaten = 0; eaten < all_of_one;) {
        auto chunk = co_await link->recv().within(5s);
        if (!chunk) co_return;
        eaten += chunk->size();
    }
    feast->done.push_back(number);
}

}  // namespace

TEST_CASE("receivers that find the pool empty are fed in the order in which they came") {
    RuntimeOptions options = one_worker();
    options.recv_buffers = 16;
    options.recv_buffer_size = 4096;
    in_runtime_with(options, []() -> Task<> {
        constexpr unsigned count = 64;
        std::vector<Pair> pairs;
        for (unsigned number = 0; number < count; ++number) {
            pairs.push_back(co_await connected());
            (co_await pairs.back().near.send(std::string(all_of_one, 'x'))).value();
        }
        Feast feast;
        Scope scope;
        for (unsigned number = 0; number < count; ++number) scope.spawn(eat, &pairs[number].far, number, &feast);
        co_await scope.join();
        REQUIRE(feast.done.size() == count);
        std::string order;
        unsigned overtakers = 0;
        for (unsigned place = 0; place < count; ++place) {
            order += std::to_string(feast.done[place]) + ' ';
            if (place > 0 && feast.done[place] < feast.done[place - 1]) ++overtakers;
        }
        INFO(order);
        CHECK(overtakers <= 1);  // one begins to receive just when everything has come back
    });
}

TEST_CASE("a burst that comes while no task runs is one Chunk, up to 256 KiB") {
    RuntimeOptions options = one_worker();
    in_runtime_with(options, []() -> Task<> {
        auto pair = co_await connected();
        const std::string burst(512 * 1024, 'x');
        std::size_t largest = 0;
        Scope scope;
        scope.spawn(
            [](Link* link, std::size_t size, std::size_t* most) -> Task<> {
                for (std::size_t got = 0; got < size;) {
                    auto chunk = co_await link->recv().within(5s);
                    if (!chunk) co_return;
                    got += chunk->size();
                    *most = std::max(*most, chunk->size());
                }
            },
            &pair.far, 4 * burst.size(), &largest);
        for (int round = 0; round < 4; ++round) (co_await pair.near.send(burst)).value();
        co_await scope.join();
        CHECK(largest > 16 * 1024);
        CHECK(largest <= 256 * 1024);
    });
}

// The end of the burst would find room in the Chunk again, in front of what did not.
TEST_CASE("what a Chunk of 256 KiB has no room for comes behind it, in order") {
    RuntimeOptions options = one_worker();
    options.recv_buffer_size = 24 * 1024;  // the eleventh is too much
    in_runtime_with(options, []() -> Task<> {
        auto pair = co_await connected();
        std::string burst(11 * 24 * 1024 + 1000, '\0');
        for (std::size_t at = 0; at < burst.size(); ++at) burst[at] = static_cast<char>(at / 1000);
        for (int round = 0; round < 4; ++round) {
            std::string got;
            Scope scope;
            scope.spawn(
                [](Link* link, std::size_t size, std::string* all) -> Task<> {
                    while (all->size() < size) {
                        auto chunk = co_await link->recv().within(5s);
                        if (!chunk) co_return;
                        CHECK(chunk->size() <= 256 * 1024);
                        *all += chunk->to_string();
                    }
                },
                &pair.far, burst.size(), &got);
            (co_await pair.near.send(burst)).value();
            co_await scope.join();
            CHECK(got == burst);
        }
    });
}
