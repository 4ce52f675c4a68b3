// SPDX-License-Identifier: BSL-1.0
// Safepoint: brings every worker of a Runtime to a place between two tasks and holds it there, so that one thread (the
// reporter) may read what the workers own. A worker that is not at its safepoint in time is left out, and named.
//
//   worker                                          reporter
//   between two tasks, and in each pass:            1 wait for its turn: one reporter at a time
//   wanted()? then stop_here(): says `safe`,        2 wanted = true, wake all workers, wait until each is safe or
//   absent sleeps until wanted is false                    3 read
//                                                   4 wanted = false
//
// A reporter that is itself a worker's thread counts as safe from 1 to 4, also while it waits for its turn, so that two
// workers that report at the same time do not wait for each other. All of it is guarded by one mutex except `wanted`,
// which the workers read in passing.
#pragma once

#include <chainring/config.hpp>
#include <chainring/task_context.hpp>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class Safepoint {
public:
    explicit Safepoint(std::size_t workers) : places_(workers, Place::absent) {}

    // ---- workers
    // relaxed: the mutex orders what follows; a worker that reads late is woken, and reads again.
    bool wanted() const noexcept { return wanted_.load(std::memory_order_relaxed); }
    void stop_here(unsigned worker) noexcept { run_on(worker, Place::running); }
    void arrive(unsigned worker) noexcept { run_on(worker, Place::running); }  // the worker's thread begins to run
    void leave(unsigned worker) noexcept;                                      // and will touch nothing any more

    // ---- the reporter
    class Pause {
    public:
        static constexpr unsigned no_worker = ~0U;
        // `own`: the worker whose thread this is. `wake` is called once, to get workers out of the kernel.
        template <class Wake>
        Pause(Safepoint& safepoint, unsigned own, Duration patience, Wake wake) : safepoint_(safepoint), own_(own) {
            safepoint_.begin(own_);
            wake();
            safepoint_.await_all(patience);
        }
        Pause(const Pause&) = delete;
        Pause& operator=(const Pause&) = delete;
        ~Pause() { safepoint_.end(own_); }
        // Whether what the worker owns may be read.
        bool holds(unsigned worker) const noexcept;

    private:
        Safepoint& safepoint_;
        unsigned own_;
    };

private:
    enum class Place : unsigned char { absent, running, safe };
    void run_on(unsigned worker, Place next) noexcept;
    void begin(unsigned own) noexcept;
    void await_all(Duration patience) noexcept;
    void end(unsigned own) noexcept;

    std::mutex turn_;  // held by the reporter
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Place> places_;  // guarded by mutex_
    std::atomic<bool> wanted_{false};
};

}  // namespace detail
CHAINRING_END_NAMESPACE
