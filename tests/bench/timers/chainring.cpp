// SPDX-License-Identifier: BSL-1.0
// What runs in a Link's limit on each receive (Worker::renew and RenewedTimer), and the worker's TimerQueue.
#include <chainring/runtime.hpp>
#include <chainring/task.hpp>

#include "net/src/link_state.hpp"
#include "runtime/src/worker.hpp"
#include "tests/bench/timers/scenarios.hpp"

namespace {

using namespace chainring;
namespace detail = chainring::detail;

class Loop {
public:
    explicit Loop(Duration timeout) : worker_(*detail::Worker::current()) {
        limit_.within(timeout);
        instance_ = this;
    }

    void make(std::size_t count, bool renewed) {
        if (!renewed) {
            pauses_.resize(count);
            for (auto& pause : pauses_) pause.timer.fire = [](detail::TimerNode&) noexcept { ++instance_->fired_; };
            return;
        }
        links_.resize(count);
        for (Link& link : links_) {
            link.timer.fire = [](detail::TimerNode& node) noexcept {
                instance_->on_timer(static_cast<detail::RenewedTimer&>(node));
            };
        }
    }
    template <class F>
    void go_round(F&& work) {
        worker_.timers().expire(worker_.now());
        work();
    }
    void start(std::size_t at) { renew(at); }
    void renew(std::size_t at) { worker_.renew(links_[at].timer, limit_); }
    void schedule(std::size_t at, Duration deadline) { worker_.timers().arm(pauses_[at].timer, made_ + deadline); }
    void cancel(std::size_t at) { worker_.timers().cancel(pauses_[at].timer); }
    std::size_t fired() const { return fired_; }

private:
    using Link = timers::Connection<detail::RenewedTimer>;
    static_assert(sizeof(Link) == sizeof(detail::LinkState));

    void on_timer(detail::RenewedTimer& timer) noexcept {
        if (worker_.timers().passed(timer)) ++fired_;
    }

    static inline Loop* instance_ = nullptr;
    detail::Worker& worker_;
    detail::Limit limit_;
    Instant made_ = now();
    std::vector<Link> links_;
    std::vector<timers::Connection<detail::TimerNode>> pauses_;
    std::size_t fired_ = 0;
};

Task<> measure(int argc, char** argv, int* status) {
    *status = timers::run<Loop>(argc, argv);
    co_return;
}

}  // namespace

int main(int argc, char** argv) {
    RuntimeOptions options;
    options.workers = 1;
    Runtime runtime(options);
    int status = 0;
    runtime.run(measure, argc, argv, &status);
    return status;
}
