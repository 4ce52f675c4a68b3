// SPDX-License-Identifier: BSL-1.0
// Asio's steady_timer: expires_after and async_wait again, which ends the wait before with operation_aborted.
#include "tests/bench/timers/scenarios.hpp"

#include <asio.hpp>

namespace {

class Loop {
public:
    explicit Loop(timers::Duration timeout) : timeout_(timeout) {}

    void make(std::size_t count, bool) {
        connections_.reserve(count);
        for (std::size_t at = 0; at < count; ++at) connections_.push_back({asio::steady_timer(context_)});
    }
    template <class F>
    void go_round(F&& work) {
        asio::post(context_, [&] { work(); });
        context_.poll();
    }
    void start(std::size_t at) { renew(at); }
    void renew(std::size_t at) {
        connections_[at].timer.expires_after(timeout_);
        wait(at);
    }
    void schedule(std::size_t at, timers::Duration deadline) {
        connections_[at].timer.expires_at(made_ + deadline);
        wait(at);
    }
    void cancel(std::size_t at) { connections_[at].timer.cancel(); }
    std::size_t fired() const { return fired_; }

private:
    void wait(std::size_t at) {
        connections_[at].timer.async_wait([this](const asio::error_code& error) {
            if (!error) ++fired_;
        });
    }

    timers::Duration timeout_;
    timers::Clock::time_point made_ = timers::Clock::now();
    asio::io_context context_{1};  // one thread: without locks
    asio::executor_work_guard<asio::io_context::executor_type> guard_ = asio::make_work_guard(context_);
    std::vector<timers::Connection<asio::steady_timer>> connections_;
    std::size_t fired_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
    return timers::run<Loop>(argc, argv);
}
