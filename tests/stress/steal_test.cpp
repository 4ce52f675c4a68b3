// SPDX-License-Identifier: BSL-1.0
// Hops and steals, with more workers than this machine may have cores. Races aimed at: a task taken by a thief at each
// point of its life; operations begun away from home while the Link ends; a cancel on its way to a task that is just
// stolen.
#include "tests/stress/stress.hpp"

#include <array>
#include <atomic>
#include <random>
#include <vector>

using namespace support;

namespace {

constexpr unsigned crew = 5;

Task<> hop_about(std::uint64_t random, std::uint64_t hops, std::atomic<std::uint64_t>* done) {
    std::mt19937_64 choose(random);
    for (std::uint64_t hop = 0; hop < hops; ++hop) {
        const auto worker = static_cast<unsigned>(choose() % crew);
        co_await resume_on(worker);
        if (Runtime::current_worker() != worker) co_return;
        if (choose() % 8 == 0) {
            roam();
            co_await yield();
        }
    }
    ++*done;
}

Task<std::uint64_t> count_leaves(unsigned depth) {
    if (depth == 0) co_return std::uint64_t{1};
    Scope scope;
    std::vector<Handle<std::uint64_t>> children;
    for (int child = 0; child < 3; ++child) children.push_back(scope.start(count_leaves, depth - 1));
    co_await scope.join();
    std::uint64_t sum = 0;
    for (auto& child : children) {
        auto value = co_await child.result();
        sum += *value;
    }
    co_return sum;
}

// Sends numbered words and checks what comes back, until it is cancelled or has sent them all.
Task<> converse(Link* link, unsigned words, std::uint64_t random, std::atomic<unsigned>* wrong) {
    std::mt19937_64 choose(random);
    for (unsigned word = 0; word < words; ++word) {
        const std::string text = std::to_string(word) + "." + std::string(choose() % 300, 'w') + "\n";
        auto sent = co_await link->send(text);
        if (!sent) co_return;
        auto back = co_await link->recv_until("\n", 400);
        if (!back) co_return;
        if (*back + "\n" != text) ++*wrong;
        if (choose() % 4 == 0) co_await yield();
    }
    (void)co_await link->shutdown_write();
}

Task<> answer(Link* link) {
    for (;;) {
        auto chunk = co_await link->recv();
        if (!chunk) co_return;
        co_await yield();  // here a thief may take it
        auto sent = co_await link->send(std::move(*chunk));
        if (!sent) co_return;
    }
}

}  // namespace

TEST_CASE("a storm of hops: every task arrives at every worker that it goes to") {
    in_runtime_with(workers(crew, Steal::eager), []() -> Task<> {
        const std::uint64_t hops = rounds(2000);
        std::atomic<std::uint64_t> done{0};
        Scope scope;
        for (unsigned task = 0; task < 40; ++task) scope.spawn(hop_about, seed() + task, hops, &done);
        co_await scope.join();
        CHECK(done == 40);
    });
}

TEST_CASE("a storm of small tasks: all are counted, wherever they ran") {
    for (const Steal steal : {Steal::overloaded, Steal::eager}) {
        in_runtime_with(workers(crew, steal), []() -> Task<> {
            const std::uint64_t times = rounds(20);
            for (std::uint64_t time = 0; time < times; ++time) {
                const std::uint64_t leaves = co_await count_leaves(7);
                CHECK(leaves == 2187);
            }
        });
    }
}

TEST_CASE("a storm of steals with Links under load, cut off at random: nothing is wrong, lost or left") {
    const std::uint64_t storms = rounds(30);
    for (std::uint64_t storm = 0; storm < storms; ++storm) {
        CAPTURE(seed());
        CAPTURE(storm);
        const int before = descriptors();
        in_runtime_with(
            workers(crew, Steal::eager),
            [](std::uint64_t random) -> Task<> {
                std::mt19937_64 choose(random);
                std::atomic<unsigned> wrong{0};
                std::vector<Pair> pairs;
                for (int link = 0; link < 16; ++link) pairs.push_back(co_await connected());
                Scope scope;
                for (Pair& pair : pairs) {
                    scope.spawn(answer, &pair.near);
                    scope.spawn(converse, &pair.far, 60U, choose(), &wrong);
                }
                switch (choose() % 3) {
                    case 0:
                        break;
                    case 1:
                        (void)co_await sleep_for(std::chrono::microseconds(choose() % 5000));
                        scope.cancel();
                        break;
                    default:
                        (void)co_await sleep_for(std::chrono::microseconds(choose() % 5000));
                        for (Pair& pair : pairs) (choose() % 2 ? pair.near : pair.far).abort();
                }
                co_await scope.join();
                CHECK(wrong == 0);
            },
            seed() + storm);
        CHECK(descriptors() == before);
    }
}

// What comes of one burst is added to the receive that its beginning has woken, but not to one that may run elsewhere.
TEST_CASE("bursts to receives that thieves take: every byte comes once, in order") {
    RuntimeOptions options = workers(2, Steal::eager);
    options.recv_buffer_size = 1024;
    in_runtime_with(options, []() -> Task<> {
        constexpr unsigned count = 8;
        const std::string burst = [] {
            std::string text(48 * 1024, '\0');
            for (std::size_t at = 0; at < text.size(); ++at) text[at] = static_cast<char>(at * 2654435761U >> 11);
            return text;
        }();
        const std::uint64_t bursts = rounds(300);
        std::vector<Pair> pairs;
        for (unsigned number = 0; number < count; ++number) pairs.push_back(co_await connected());
        std::atomic<unsigned> wrong{0};
        Scope scope;
        for (Pair& pair : pairs) {
            scope.spawn(
                [](Link* link, const std::string* text, std::uint64_t times) -> Task<> {
                    for (; times > 0; --times) (co_await link->send(*text)).value();
                    (co_await link->shutdown_write()).value();
                },
                &pair.near, &burst, bursts);
            scope.spawn(
                [](Link* link, const std::string* text, std::uint64_t times, std::atomic<unsigned>* differ) -> Task<> {
                    std::uint64_t got = 0;
                    while (auto chunk = co_await link->recv()) {
                        const std::string part = chunk->to_string();
                        for (const char byte : part)
                            if (byte != (*text)[got++ % text->size()]) ++*differ;
                    }
                    if (got != times * text->size()) ++*differ;
                },
                &pair.far, &burst, bursts, &wrong);
        }
        co_await scope.join();
        CHECK(wrong == 0);
    });
}
