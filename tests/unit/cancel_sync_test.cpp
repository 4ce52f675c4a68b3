// SPDX-License-Identifier: BSL-1.0
// How waits end that no kernel knows of: sleeps, joins, and the primitives of sync.
#include "tests/unit/contest.hpp"

#include <optional>
#include <utility>

using namespace support;

namespace {

class SleepContest final : public Contest {
public:
    SleepContest() { waits = takes_limits = false; }
    Task<> prepare(Random& random) override {
        length_ = std::chrono::nanoseconds(random.below(20'000));
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit) override {
        const Instant start = now();
        const bool whole = co_await sleep_for(length_);
        if (!whole) co_return make_error_code(Errc::cancelled);
        CHECK(now() - start >= length_);
        co_return std::error_code();
    }
    Task<> complete() override { co_return; }

private:
    Duration length_{};
};

class LongSleepContest final : public Contest {
public:
    LongSleepContest() { takes_limits = either_wins = completes = false; }
    Task<std::error_code> attempt(MaybeLimit) override {
        const bool whole = co_await sleep_for(1h);
        co_return whole ? std::error_code() : make_error_code(Errc::cancelled);
    }
    Task<> complete() override { co_return; }
};

class EventContest final : public Contest {
public:
    Task<> prepare(Random&) override {
        event_.reset();
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto waited = co_await limited(event_.wait(), limit);
        if (waited) CHECK(event_.is_set());
        co_return waited.error();
    }
    Task<> complete() override {
        event_.set();
        co_return;
    }

private:
    Event event_;
};

class LatchContest final : public Contest {
public:
    Task<> prepare(Random&) override {
        latch_.emplace(2U);
        latch_->count_down();
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto waited = co_await limited(latch_->wait(), limit);
        if (waited) CHECK(latch_->try_wait());
        co_return waited.error();
    }
    Task<> complete() override {
        latch_->count_down();
        co_return;
    }

private:
    std::optional<Latch> latch_;
};

// A permit comes while the contender waits for it and, in every second round, a rival who is never cancelled: whoever
// ends early must have passed it on.
class SemaphoreContest final : public Contest {
public:
    Task<> prepare(Random& random) override {
        released_ = false;
        rivals_.emplace();
        if (random.one_in(2)) rivals_->spawn(rival, &semaphore_);
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto taken = co_await limited(semaphore_.acquire(), limit);
        if (taken) semaphore_.release();
        co_return taken.error();
    }
    Task<> complete() override {
        released_ = true;
        semaphore_.release();
        co_return;
    }
    Task<> settle(std::error_code) override {
        if (!released_) semaphore_.release();
        co_await rivals_->join();
        rivals_.reset();
        CHECK(semaphore_.available() == 1);
        CHECK(semaphore_.try_acquire());
    }

private:
    static Task<> rival(Semaphore* semaphore) {
        const auto taken = co_await semaphore->acquire();
        CHECK(taken);
        semaphore->release();
    }
    Semaphore semaphore_{0};
    std::optional<Scope> rivals_;
    bool released_ = false;
};

// The same with a lock: it is free in the end, and the rival has had it.
class MutexContest final : public Contest {
public:
    Task<> prepare(Random& random) override {
        held_ = mutex_.try_lock();
        CHECK(held_);
        rivals_.emplace();
        if (random.one_in(2)) rivals_->spawn(rival, &mutex_);
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        auto guard = co_await limited(mutex_.lock(), limit);
        if (guard) CHECK(mutex_.is_locked());
        co_return guard.error();
    }
    Task<> complete() override {
        held_.unlock();
        co_return;
    }
    Task<> settle(std::error_code) override {
        held_.unlock();
        co_await rivals_->join();
        rivals_.reset();
        CHECK(!mutex_.is_locked());
    }

private:
    static Task<> rival(Mutex* mutex) {
        auto guard = co_await mutex->lock();
        CHECK(guard);
    }
    Mutex mutex_;
    Mutex::Guard held_;
    std::optional<Scope> rivals_;
};

// The channel is full; the values that were taken come out in order, and no other.
class ChannelSendContest final : public Contest {
public:
    Task<> prepare(Random&) override {
        CHECK(channel_.try_send(next_sent_++));
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto sent = co_await limited(channel_.send(next_sent_), limit);
        co_return sent.error();
    }
    Task<> complete() override {
        const auto value = channel_.try_recv();
        received_in_round_ = value.has_value();
        if (value) in_order_ &= *value == next_received_;
        co_return;
    }
    Task<> settle(std::error_code error) override {
        if (!error) ++next_sent_;
        if (std::exchange(received_in_round_, false)) ++next_received_;
        while (const auto value = channel_.try_recv()) in_order_ &= *value == next_received_++;
        CHECK(in_order_);
        CHECK(next_received_ == next_sent_);
        co_return;
    }

private:
    Channel<unsigned> channel_{1};
    unsigned next_sent_ = 0;
    unsigned next_received_ = 0;
    bool received_in_round_ = false;
    bool in_order_ = true;
};

class ChannelRecvContest final : public Contest {
public:
    Task<std::error_code> attempt(MaybeLimit limit) override {
        const auto value = co_await limited(channel_.recv(), limit);
        if (value) CHECK(*value == next_received_++);
        co_return value.error();
    }
    Task<> complete() override {
        taken_ &= channel_.try_send(next_sent_++);
        co_return;
    }
    Task<> settle(std::error_code) override {
        while (const auto value = channel_.try_recv()) CHECK(*value == next_received_++);
        CHECK(taken_);
        CHECK(next_received_ == next_sent_);
        co_return;
    }

private:
    Channel<unsigned> channel_{2};
    unsigned next_sent_ = 0;
    unsigned next_received_ = 0;
    bool taken_ = true;
};

// A join is not cut short: its children are asked to end, and it waits for them, who take their time.
class JoinContest final : public Contest {
public:
    JoinContest() {
        takes_limits = either_wins = false;
        when_cancelled = {};
    }
    Task<> prepare(Random&) override {
        done_.reset();
        co_return;
    }
    Task<std::error_code> attempt(MaybeLimit) override {
        bool ended[2] = {false, false};
        Scope scope;
        for (bool& flag : ended) scope.spawn(child, &done_, &flag);
        co_await scope.join();
        CHECK(ended[0]);
        CHECK(ended[1]);
        co_return std::error_code();
    }
    Task<> complete() override {
        done_.set();
        co_return;
    }

private:
    static Task<> child(Event* done, bool* ended) {
        const auto waited = co_await done->wait();
        for (int count = waited ? 0 : 3; count > 0; --count) co_await yield();
        *ended = true;
    }
    Event done_;
};

}  // namespace

TEST_CASE("a sleep ends at its time or when it is cancelled, and says which") {
    contend<SleepContest>();
    contend<LongSleepContest>();
}

TEST_CASE("a wait for an Event ends by set, cancel or limit, and says which") {
    contend<EventContest>();
}

TEST_CASE("a wait for a Latch ends by the count, cancel or limit, and says which") {
    contend<LatchContest>();
}

TEST_CASE("a cancelled or late acquire loses no permit") {
    contend<SemaphoreContest>();
}

TEST_CASE("a cancelled or late lock leaves the Mutex to the next") {
    contend<MutexContest>();
}

TEST_CASE("a cancelled or late Channel send has put its value in, or has not, as it says") {
    contend<ChannelSendContest>();
}

TEST_CASE("a cancelled or late Channel recv loses no value") {
    contend<ChannelRecvContest>();
}

TEST_CASE("a cancelled join waits for its children all the same") {
    contend<JoinContest>();
}
