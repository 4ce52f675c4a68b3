// SPDX-License-Identifier: BSL-1.0
// libuv's uv_timer_t: a renewal is uv_timer_again. Its time is the loop's, of the beginning of the round.
#include "tests/bench/timers/scenarios.hpp"

#include <uv.h>

namespace {

class Loop {
public:
    explicit Loop(timers::Duration timeout) : timeout_(milliseconds(timeout)) {
        uv_loop_init(&loop_);
        uv_idle_init(&loop_, &idle_);
        idle_.data = this;
        uv_idle_start(&idle_, [](uv_idle_t* idle) {
            const auto* self = static_cast<const Loop*>(idle->data);
            self->work_(self->argument_);
        });
        made_ = uv_now(&loop_);
    }

    void make(std::size_t count, bool) {
        connections_.resize(count);
        for (auto& connection : connections_) {
            uv_timer_init(&loop_, &connection.timer);
            connection.timer.data = this;
        }
    }
    template <class F>
    void go_round(F&& work) {
        argument_ = &work;
        work_ = [](void* argument) { (*static_cast<std::remove_reference_t<F>*>(argument))(); };
        uv_run(&loop_, UV_RUN_NOWAIT);
    }
    void start(std::size_t at) { uv_timer_start(&connections_[at].timer, on_timer, timeout_, timeout_); }
    void renew(std::size_t at) { uv_timer_again(&connections_[at].timer); }
    void schedule(std::size_t at, timers::Duration deadline) {
        uv_timer_start(&connections_[at].timer, on_timer, made_ + milliseconds(deadline) - uv_now(&loop_), 0);
    }
    void cancel(std::size_t at) { uv_timer_stop(&connections_[at].timer); }
    std::size_t fired() const { return fired_; }

private:
    static std::uint64_t milliseconds(timers::Duration duration) {
        return static_cast<std::uint64_t>(duration.count()) / 1'000'000;
    }
    static void on_timer(uv_timer_t* timer) { ++static_cast<Loop*>(timer->data)->fired_; }

    uv_loop_t loop_{};
    uv_idle_t idle_{};
    void (*work_)(void*) = nullptr;
    void* argument_ = nullptr;
    std::uint64_t timeout_, made_ = 0;
    std::vector<timers::Connection<uv_timer_t>> connections_;
    std::size_t fired_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    return timers::run<Loop>(argc, argv);
}
