// SPDX-License-Identifier: BSL-1.0
// libevent's timer events: a renewal is event_add of the pending event. With LIBEVENT_COMMON_TIMEOUT=1 in the
// environment the timeout is one of event_base_init_common_timeout, kept in a queue instead of the heap. Its time is
// the one cached for the callbacks of a round.
#include "tests/bench/timers/scenarios.hpp"

#include <event2/event.h>
#include <event2/event_struct.h>

namespace {

class Loop {
public:
    explicit Loop(timers::Duration timeout) : base_(event_base_new()), timeout_(timeval_of(timeout)) {
        if (std::getenv("LIBEVENT_COMMON_TIMEOUT")) timeout_ = *event_base_init_common_timeout(base_, &timeout_);
        event_assign(&work_event_, base_, -1, 0, on_work, this);
    }

    void make(std::size_t count, bool) {
        connections_.resize(count);
        for (auto& connection : connections_) event_assign(&connection.timer, base_, -1, 0, on_timer, this);
    }
    template <class F>
    void go_round(F&& work) {
        argument_ = &work;
        work_ = [](void* argument) { (*static_cast<std::remove_reference_t<F>*>(argument))(); };
        event_active(&work_event_, EV_TIMEOUT, 0);
        event_base_loop(base_, EVLOOP_NONBLOCK);
    }
    void start(std::size_t at) { renew(at); }
    void renew(std::size_t at) { event_add(&connections_[at].timer, &timeout_); }
    void schedule(std::size_t at, timers::Duration deadline) {
        const timeval after = timeval_of(deadline - since_);
        event_add(&connections_[at].timer, &after);
    }
    void cancel(std::size_t at) { event_del(&connections_[at].timer); }
    std::size_t fired() const { return fired_; }

private:
    static timeval timeval_of(timers::Duration duration) {
        timeval result{};
        result.tv_sec = duration.count() / 1'000'000'000;
        result.tv_usec = duration.count() % 1'000'000'000 / 1000;
        return result;
    }
    static void on_timer(int, short, void* argument) { ++static_cast<Loop*>(argument)->fired_; }
    static void on_work(int, short, void* argument) {
        auto* self = static_cast<Loop*>(argument);
        self->since_ = timers::Clock::now() - self->made_;
        self->work_(self->argument_);
    }

    event_base* base_;
    event work_event_{};
    timeval timeout_;
    timers::Clock::time_point made_ = timers::Clock::now();
    timers::Duration since_{};
    void (*work_)(void*) = nullptr;
    void* argument_ = nullptr;
    std::vector<timers::Connection<event>> connections_;
    std::size_t fired_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    return timers::run<Loop>(argc, argv);
}
