// SPDX-License-Identifier: BSL-1.0
// OffloadPool: threads that call what tasks offload. One per Runtime. The queue is a list under a mutex: every call in
// it stands for something that blocks, beside which the lock is nothing.
//
//   1 queued    push(): in the list. A cancel or limit that takes it out (mutex) has won: fn is not called
//   2 running   a thread has taken it out: it is called, whatever comes
//   3 ended     the thread has claimed the wait and posted the end to the task's worker; from then on the call may be
//   gone
//
// Threads: push on workers, withdraw on the call's worker; stop() by the thread of run(), when no task is left.
#pragma once

#include <chainring/config.hpp>
#include <chainring/offload.hpp>

#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace sim {
class Host;
}

class OffloadPool {
public:
    // `room`: calls that may wait at a time; 0: any number. With `host` there are no threads: it plays them.
    OffloadPool(unsigned threads, std::size_t room, sim::Host* host) noexcept
        : most_threads_(threads), room_(room), host_(host), idle_(host ? threads : 0) {}
    OffloadPool(const OffloadPool&) = delete;
    OffloadPool& operator=(const OffloadPool&) = delete;
    ~OffloadPool() { stop(); }

    // With `publish` called under the mutex before the call can be seen. False: there is no room, or not one thread.
    template <class Publish>
    bool push(OffloadedCall& call, Publish publish) noexcept {
        {
            const std::lock_guard lock(mutex_);
            if (room_ != 0 && waiting_ >= room_ && idle_ <= waiting_) return false;
            if (!have_thread()) return false;
            publish();
            append(call);
            wanted_.notify_one();
        }
        if (host_) [[unlikely]]
            want_host();
        return true;
    }
    // 1: takes it out again. False: it runs, or has ended.
    bool withdraw(OffloadedCall& call) noexcept;
    void stop() noexcept;

    // 2 and 3, by one of the threads: the oldest call, which counts as running then; null: there is none, or no thread.
    OffloadedCall* take() noexcept;
    void make(OffloadedCall& call) noexcept;

private:
    bool have_thread() noexcept;
    void append(OffloadedCall& call) noexcept;
    void unlink(OffloadedCall& call) noexcept;
    void serve() noexcept;
    OffloadedCall* take_first() noexcept;
    void want_host() noexcept;

    const unsigned most_threads_;
    const std::size_t room_;
    sim::Host* const host_;
    std::mutex mutex_;  // guards all below
    std::condition_variable wanted_;
    OffloadedCall* first_ = nullptr;
    OffloadedCall* last_ = nullptr;
    std::size_t waiting_ = 0;  // calls in the list
    std::size_t idle_;         // threads that wait for one
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
