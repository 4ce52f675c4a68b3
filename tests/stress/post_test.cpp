// SPDX-License-Identifier: BSL-1.0
// Posts and wakes. Races aimed at: a push between the consumer's last look and its sleep; many pushers at an inbox that
// is just taken; a task injected while every worker is about to park.
#include "runtime/src/worker.hpp"
#include "tests/stress/stress.hpp"

#include <algorithm>
#include <atomic>
#include <memory>
#include <thread>
#include <vector>

using namespace support;

namespace {

struct Sink {
    std::vector<std::uint64_t> next;  // by producer; the worker's
    std::uint64_t taken = 0;
    bool in_order = true;
    std::atomic<std::uint64_t> seen{0};  // for those who wait
};

struct Post : detail::InboxNode {
    Sink* sink = nullptr;
    unsigned producer = 0;
    std::uint64_t number = 0;
};

void take(detail::InboxNode& node) noexcept {
    auto& post = static_cast<Post&>(node);
    Sink& sink = *post.sink;
    if (sink.next[post.producer]++ != post.number) sink.in_order = false;
    ++sink.taken;
    sink.seen.store(sink.taken, std::memory_order_release);
}

}  // namespace

TEST_CASE("four producers post a million nodes each: exactly once, in order, and hardly any post costs a wake" *
          not_simulated()) {
    // Two workers, as a server has: they spin for a moment before they park.
    in_runtime_with(workers(2, Steal::overloaded), []() -> Task<> {
        constexpr unsigned producers = 4;
        const std::uint64_t each = rounds(1'000'000);
        detail::Worker& worker = *detail::Worker::current();
        Sink sink;
        sink.next.resize(producers);
        std::vector<std::unique_ptr<Post[]>> posts;
        for (unsigned producer = 0; producer < producers; ++producer) {
            posts.push_back(std::make_unique<Post[]>(each));
            for (std::uint64_t number = 0; number < each; ++number) {
                Post& post = posts.back()[number];
                post.run = take;
                post.sink = &sink;
                post.producer = producer;
                post.number = number;
            }
        }
        const std::uint64_t wakes_before = metrics().wakes;
        std::vector<std::thread> threads;
        for (unsigned producer = 0; producer < producers; ++producer)
            threads.emplace_back([&, producer] {
                for (std::uint64_t number = 0; number < each; ++number) worker.post(posts[producer][number]);
            });
        while (sink.taken < producers * each) (void)co_await sleep_for(1ms);
        for (std::thread& thread : threads) thread.join();
        const std::uint64_t wakes = metrics().wakes - wakes_before;
        MESSAGE("wakes for " << producers * each << " posts: " << wakes);
        CHECK(sink.taken == producers * each);
        CHECK(sink.in_order);
        CHECK(wakes <= std::max<std::uint64_t>(producers * each / 100, 100));
    });
}

TEST_CASE("a wake is never lost: a worker that parks for each post" * not_simulated()) {
    in_runtime([]() -> Task<> {
        const std::uint64_t count = rounds(100'000);
        detail::Worker& worker = *detail::Worker::current();
        Sink sink;
        sink.next.resize(1);
        Post post;
        post.run = take;
        post.sink = &sink;
        std::thread foreign([&] {
            for (std::uint64_t round = 0; round < count; ++round) {
                post.number = round;
                worker.post(post);
                // Often a moment before the worker parks, sometimes after: the node itself is free once it was seen.
                while (sink.seen.load(std::memory_order_acquire) <= round) std::this_thread::yield();
            }
        });
        Event never;
        while (sink.taken < count) (void)co_await never.wait().within(100ms);
        foreign.join();
        CHECK(sink.in_order);
    });
}

TEST_CASE("tasks injected by foreign threads while all workers park run once each" * not_simulated()) {
    for (const Steal steal : {Steal::never, Steal::overloaded, Steal::eager}) {
        in_runtime_with(workers(3, steal), []() -> Task<> {
            const std::uint64_t each = rounds(20'000);
            Runtime& runtime = Runtime::current();
            std::atomic<std::uint64_t> ran{0};
            std::vector<std::thread> threads;
            for (int thread = 0; thread < 2; ++thread)
                threads.emplace_back([&runtime, &ran, each, thread] {
                    for (std::uint64_t task = 0; task < each; ++task) {
                        const std::uint64_t before = ran.load(std::memory_order_acquire);
                        runtime.root().spawn(
                            [](std::atomic<std::uint64_t>* count) -> Task<> {
                                count->fetch_add(1, std::memory_order_acq_rel);
                                co_return;
                            },
                            &ran);
                        // One thread waits for each of its tasks, so that the workers go to sleep in between.
                        if (thread == 0)
                            while (ran.load(std::memory_order_acquire) == before) std::this_thread::yield();
                    }
                });
            while (ran < 2 * each) (void)co_await sleep_for(1ms);
            for (std::thread& thread : threads) thread.join();
            CHECK(ran == 2 * each);
        });
    }
}
