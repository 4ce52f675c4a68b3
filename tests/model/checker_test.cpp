// SPDX-License-Identifier: BSL-1.0
// The checker itself: the litmus tests of the C++ memory model whose outcomes it has to know, and the faults that it
// has to find.
#include "tests/model/checker/explore.hpp"

#include <doctest/doctest.h>
#include <memory>
#include <mutex>
#include <set>
#include <string>

using model::Atomic;
using model::Data;

namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;
constexpr auto acq_rel = std::memory_order_acq_rel;
constexpr auto seq_cst = std::memory_order_seq_cst;

// Every outcome that an exploration has seen, as text.
class Outcomes {
public:
    void add(std::initializer_list<int> values) {
        std::string text;
        for (const int value : values) text += std::to_string(value);
        seen_.insert(text);
    }
    std::string all() const {
        std::string text;
        for (const auto& one : seen_) text += one + " ";
        return text;
    }

private:
    std::set<std::string> seen_;
};

std::string store_buffering(std::memory_order store, std::memory_order load) {
    Outcomes outcomes;
    model::holds({}, [&] {
        Atomic<int> x{0}, y{0};
        int a = 0, b = 0;
        {
            auto first = model::spawn([&] {
                x.store(1, store);
                a = y.load(load);
            });
            auto second = model::spawn([&] {
                y.store(1, store);
                b = x.load(load);
            });
        }
        outcomes.add({a, b});
    });
    return outcomes.all();
}

}  // namespace

TEST_CASE("store buffering is seen, unless all four accesses are seq_cst") {
    CHECK(store_buffering(seq_cst, seq_cst) == "01 10 11 ");
    CHECK(store_buffering(seq_cst, acquire) == "00 01 10 11 ");
    CHECK(store_buffering(release, seq_cst) == "00 01 10 11 ");
    CHECK(store_buffering(relaxed, relaxed) == "00 01 10 11 ");
}

TEST_CASE("message passing needs release and acquire") {
    const auto message = [](std::memory_order store, std::memory_order load) {
        return [=] {
            Atomic<int> flag{0};
            Data<int> data{0};
            auto sender = model::spawn([&] {
                data = 7;
                flag.store(1, store);
            });
            if (flag.load(load) == 1) model::check(data == 7, "the message is seen");
        };
    };
    CHECK(model::holds({}, message(release, acquire)));
    CHECK(model::fails({}, "data race", message(relaxed, acquire)));
    CHECK(model::fails({}, "data race", message(release, relaxed)));
}

TEST_CASE("a stale value is read through relaxed accesses of two objects") {
    Outcomes outcomes;
    model::holds({}, [&] {
        Atomic<int> x{0}, y{0};
        auto writer = model::spawn([&] {
            x.store(1, relaxed);
            y.store(1, relaxed);
        });
        const int b = y.load(relaxed);
        const int a = x.load(relaxed);
        outcomes.add({b, a});
    });
    CHECK(outcomes.all() == "00 01 10 11 ");
}

TEST_CASE("coherence: two reads of one object by one thread do not go back") {
    CHECK(model::holds({}, [] {
        Atomic<int> x{0};
        auto writer = model::spawn([&] {
            x.store(1, relaxed);
            x.store(2, relaxed);
        });
        const int a = x.load(relaxed);
        const int b = x.load(relaxed);
        model::check(a <= b, "coherence");
    }));
}

TEST_CASE("coherence: what happens before a read bounds it") {
    CHECK(model::holds({}, [] {
        Atomic<int> x{0}, seen{0};
        auto writer = model::spawn([&] { x.store(1, relaxed); });
        auto reader = model::spawn([&] {
            if (x.load(relaxed) == 1) seen.store(1, release);
        });
        if (seen.load(acquire) == 1) model::check(x.load(relaxed) == 1, "the read that was passed on");
    }));
}

TEST_CASE("independent readers of independent writes agree when all is seq_cst") {
    const auto body = [](std::memory_order load, Outcomes& outcomes) {
        return [load, &outcomes] {
            Atomic<int> x{0}, y{0};
            int a = 0, b = 0, c = 0, d = 0;
            {
                auto one = model::spawn([&] { x.store(1, seq_cst); });
                auto two = model::spawn([&] { y.store(1, seq_cst); });
                auto three = model::spawn([&] {
                    a = x.load(load);
                    b = y.load(load);
                });
                auto four = model::spawn([&] {
                    c = y.load(load);
                    d = x.load(load);
                });
            }
            outcomes.add({a, b, c, d});
        };
    };
    Outcomes ordered, free;
    model::holds({}, body(seq_cst, ordered));
    CHECK(ordered.all().find("1010") == std::string::npos);
    model::holds({}, body(acquire, free));
    CHECK(free.all().find("1010") != std::string::npos);
}

TEST_CASE("a read-modify-write prolongs a release sequence, and a relaxed store ends it") {
    const auto body = [](bool store) {
        return [store] {
            Atomic<int> flag{0};
            Data<int> data{0};
            auto first = model::spawn([&] {
                data = 7;
                flag.store(1, release);
            });
            auto second = model::spawn([&] {
                if (flag.load(relaxed) != 1) return;
                if (store)
                    flag.store(2, relaxed);
                else
                    flag.fetch_add(1, relaxed);
            });
            if (flag.load(acquire) == 2) model::check(data == 7, "the message is seen");
        };
    };
    CHECK(model::holds({}, body(false)));
    CHECK(model::fails({}, "data race", body(true)));
}

TEST_CASE("read-modify-writes lose nothing; a load and a store do") {
    CHECK(model::holds({}, [] {
        Atomic<int> x{0};
        {
            auto one = model::spawn([&] { x.fetch_add(1, relaxed); });
            auto two = model::spawn([&] { x.fetch_add(1, relaxed); });
        }
        model::check(x.load(relaxed) == 2, "two increments");
    }));
    const auto torn = [] {
        Atomic<int> x{0};
        {
            auto one = model::spawn([&] { x.store(x.load(seq_cst) + 1, seq_cst); });
            auto two = model::spawn([&] { x.store(x.load(seq_cst) + 1, seq_cst); });
        }
        model::check(x.load(relaxed) == 2, "two increments");
    };
    CHECK(model::fails({}, "two increments", torn));
    // The same failure again, from its list of choices.
    const model::Outcome outcome = model::explore({}, torn);
    CHECK(!outcome.choices.empty());
    CHECK(outcome.executions == model::explore({}, torn).executions);
    CHECK(outcome.choices == model::explore({}, torn).choices);
}

TEST_CASE("random schedules find what lies beyond the bounds of the exhaustive part") {
    const auto torn = [] {
        Atomic<int> x{0};
        {
            auto one = model::spawn([&] { x.store(x.load(seq_cst) + 1, seq_cst); });
            auto two = model::spawn([&] { x.store(x.load(seq_cst) + 1, seq_cst); });
        }
        model::check(x.load(relaxed) == 2, "two increments");
    };
    const model::Options none{.preemptions = 0, .stale_reads = 0, .pct = 0, .walks = 0};
    CHECK(model::explore(none, torn).held);
    CHECK(model::fails({.preemptions = 0, .stale_reads = 0, .pct = 1000, .walks = 0}, "two increments", torn));
    CHECK(model::fails({.preemptions = 0, .stale_reads = 0, .pct = 0, .walks = 1000}, "two increments", torn));
}

TEST_CASE("a weak exchange fails for no reason, once in an execution") {
    Outcomes outcomes;
    model::holds({}, [&] {
        Atomic<int> x{0};
        int expected = 0;
        int failures = 0;
        while (!x.compare_exchange_weak(expected, 1, acq_rel, relaxed)) ++failures;
        outcomes.add({failures});
    });
    CHECK(outcomes.all().substr(0, 4) == "0 1 ");
}

TEST_CASE("a mutex keeps others out and hands on what was written") {
    CHECK(model::holds({}, [] {
        model::Mutex mutex;
        Data<int> count{0};
        const auto add = [&] {
            const std::lock_guard lock(mutex);
            count = count + 1;
        };
        {
            auto one = model::spawn(add);
            auto two = model::spawn(add);
            add();
        }
        model::check(count == 3, "three increments");
    }));
}

TEST_CASE("locks taken in two orders are a deadlock") {
    CHECK(model::fails({}, "deadlock", [] {
        model::Mutex a, b;
        auto one = model::spawn([&] {
            const std::lock_guard first(a);
            const std::lock_guard second(b);
        });
        const std::lock_guard first(b);
        const std::lock_guard second(a);
    }));
}

TEST_CASE("a wake between the look and the sleep is lost when nothing is kept") {
    CHECK(model::fails({}, "lost wake-up", [] {
        Atomic<int> work{0}, sleeps{0};
        model::Parker parker;
        auto producer = model::spawn([&] {
            work.store(1);
            if (sleeps.load() == 1) parker.wake();
        });
        if (work.load() == 0) {
            sleeps.store(1);  // too late: the look has to come after it
            parker.park("without work");
        }
    }));
}

TEST_CASE("a loop that waits without end is a livelock") {
    CHECK(model::fails({}, "livelock", [] {
        Atomic<int> never{0};
        while (never.load(relaxed) == 0) model::yield();
    }));
}

TEST_CASE("a loop with yield lets the other thread go on") {
    CHECK(model::holds({}, [] {
        Atomic<int> ready{0};
        auto other = model::spawn([&] { ready.store(1, release); });
        while (ready.load(acquire) == 0) model::yield();
    }));
}

TEST_CASE("an access after destruction is found, and a destruction that is not ordered after an access") {
    struct Box {
        Atomic<int> state{0};
    };
    CHECK(model::fails({}, "destr", [] {
        auto box = std::make_unique<Box>();
        auto setter = model::spawn([raw = box.get()] {
            raw->state.store(1, release);
            raw->state.store(2, release);
        });
        while (box->state.load(acquire) == 0) model::yield();
        box.reset();
    }));
    CHECK(model::holds({}, [] {
        auto box = std::make_unique<Box>();
        auto setter = model::spawn([raw = box.get()] { raw->state.store(1, release); });
        while (box->state.load(acquire) == 0) model::yield();
        box.reset();
    }));
}

TEST_CASE("publishing an object through a relaxed store is a race with its construction") {
    struct Box {
        Atomic<int> state{7};
    };
    CHECK(model::fails({}, "construction", [] {
        Atomic<Box*> box{nullptr};
        std::unique_ptr<Box> owner;
        {
            auto maker = model::spawn([&] {
                owner = std::make_unique<Box>();
                box.store(owner.get(), relaxed);
            });
            if (Box* made = box.load(acquire)) model::check(made->state.load(relaxed) == 7, "made");
        }
        owner.reset();
    }));
}
