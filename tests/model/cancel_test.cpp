// SPDX-License-Identifier: BSL-1.0
// A cancel on its way to a task: CancelRequest and CancelPost, used as in runtime/src/scope.cpp (deliver_cancel,
// cancel, child_ended) and worker.hpp (suspend, resume), over the Inbox and ParkState of two workers.
#include "runtime/include/chainring/cancel_state.hpp"
#include "runtime/src/inbox.hpp"
#include "runtime/src/park_state.hpp"
#include "tests/model/node.hpp"

#include <doctest/doctest.h>
#include <mutex>

namespace {

enum Kind : unsigned { cancel_node, run_node, end_node };

struct Worker {
    chainring::detail::Inbox<model::Node, model::Atomic> inbox;
    chainring::detail::ParkState<model::Atomic> park;
    model::Parker backend;

    void post(model::Node& node) {
        inbox.push(node);
        if (park.must_wake()) backend.wake();
    }
};

// A task that waits on worker 0 for something that comes at once, is stolen by worker 1, and waits there for what never
// comes: a cancel alone can end it.
struct World {
    Worker workers[2];
    chainring::detail::CancelRequest<model::Atomic> request;
    chainring::detail::CancelPost<model::Atomic> post;
    model::Atomic<unsigned> where{0};
    model::Node node{0, cancel_node};
    model::Node stolen{0, run_node};
    model::Node ended[2] = {{0, end_node}, {1, end_node}};
    model::Data<bool> waits{false};  // the owner's: the second wait
    model::Mutex scope;
    bool listed = true;  // guarded by it
    bool noticed = false;
    unsigned freed = 0;
    bool done[2] = {false, false};

    // ---- the task
    void tell_worker(unsigned at) {
        if (post.post()) workers[at].post(node);
    }
    void suspend(unsigned here) {
        const bool asked = request.begin_wait();
        if (asked && !noticed) tell_worker(here);
    }
    void begin_first() {
        where.store(0, std::memory_order_relaxed);
        if (request.asked()) return finish();
        suspend(0);
        request.end_wait();
        workers[1].post(stolen);
    }
    void begin_second() {
        where.store(1, std::memory_order_relaxed);
        if (request.asked()) return finish();
        waits = true;
        suspend(1);
    }
    void finish() {
        bool freed_here = false;
        {
            const std::lock_guard lock(scope);
            listed = false;
            freed_here = post.end();
        }
        if (freed_here) free();
    }
    void free() {
        ++freed;
        model::check(freed == 1, "a task is freed once");
        for (unsigned worker = 0; worker < 2; ++worker) workers[worker].post(ended[worker]);
    }

    // ---- deliver_cancel
    void deliver(unsigned here) {
        do {
            if (!post.begin_look()) return free();
            model::check(freed == 0, "a task that is looked at is still there");
            const bool waiting = request.waiting();
            model::check(freed == 0, "a task that is looked at is still there");
            if (!waiting) continue;
            if (const unsigned at = where.load(std::memory_order_relaxed); at != here) {
                if (!post.hand_on()) return free();
                workers[at].post(node);
                return;
            }
            const bool fresh = request.asked() && !noticed;
            if (fresh) noticed = true;
            if (fresh && waits) {
                waits = false;
                request.end_wait();
                finish();  // the task resumes here, and ends
            }
        } while (!post.end_look());
    }

    // ---- the workers
    void run(unsigned here) {
        while (!done[here]) {
            for (model::Node* at = workers[here].inbox.take_all(); at;) {
                model::Node* next = at->next;
                switch (at->number) {
                    case cancel_node:
                        deliver(here);
                        break;
                    case run_node:
                        begin_second();
                        break;
                    default:
                        done[here] = true;
                }
                at = next;
            }
            workers[here].park.announce();
            if (workers[here].inbox.empty() && !done[here]) workers[here].backend.park("the worker sleeps");
            workers[here].park.running();
        }
    }

    // ---- Scope::cancel: a task in the list cannot go while the scope's mutex is held
    void ask() {
        const std::lock_guard lock(scope);
        if (!listed) return;
        if (request.ask()) tell_worker(where.load(std::memory_order_relaxed));
    }
};

}  // namespace

TEST_CASE("a cancel ends a task that waits, on whichever worker, and the task is freed once") {
    CHECK(model::holds({.preemptions = 2, .stale_reads = 1}, [] {
        World world;
        auto thief = model::spawn([&] { world.run(1); });
        auto asker = model::spawn([&] { world.ask(); });
        world.begin_first();
        world.run(0);
        asker.join();
        thief.join();
        model::check(world.freed == 1, "the task has ended");
    }));
}

TEST_CASE("the post's node is in one inbox at a time, however many ask, and none of them goes unseen") {
    CHECK(model::holds({.preemptions = 3}, [] {
        chainring::detail::CancelPost<model::Atomic> post;
        model::Atomic<unsigned> asked{0};
        model::Atomic<unsigned> in_inbox{0};
        unsigned seen = 0;
        const auto ask = [&](unsigned bit) {
            asked.fetch_or(bit, std::memory_order_seq_cst);
            if (post.post()) model::check(in_inbox.fetch_add(1, std::memory_order_seq_cst) == 0, "one node, one inbox");
        };
        auto first = model::spawn([&] { ask(1); });
        auto second = model::spawn([&] { ask(2); });
        while (seen != 3) {
            if (in_inbox.load(std::memory_order_seq_cst) == 0) {
                model::yield();
                continue;
            }
            in_inbox.fetch_sub(1, std::memory_order_seq_cst);
            do {
                model::check(post.begin_look(), "nobody has ended it");
                seen = asked.load(std::memory_order_seq_cst);
            } while (!post.end_look());
        }
        first.join();
        second.join();
    }));
}
