// SPDX-License-Identifier: BSL-1.0
// Resource: something that lives on a worker and has to end with it: a Link, a listener. Live from its making until
// retire(): the worker does not exit before. A retired one may still have handles; when the worker goes, it becomes an
// orphan, whose last handle frees it. Home worker's thread, but for home() and orphaned().
#pragma once

#include <chainring/config.hpp>

#include <atomic>
#include <cstdint>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class Worker;

class Resource {
public:
    enum class Stop : std::uint8_t {
        drain,     // nothing new is begun
        cancel,    // the tasks have been cancelled; what has no task ends now
        finished,  // no task is left
    };
    Resource(const Resource&) = delete;
    Resource& operator=(const Resource&) = delete;
    virtual void on_stop(Stop stop) noexcept = 0;  // on the home worker; may retire itself, no other

    Worker& home() const noexcept { return *home_; }
    // Any thread. True: the home worker is gone.
    bool orphaned() const noexcept { return orphaned_.load(std::memory_order_acquire); }

protected:
    explicit Resource(Worker& home) noexcept;
    virtual ~Resource();
    void retire() noexcept;  // home worker: nothing is in flight any more

private:
    friend class Worker;
    void unlink() noexcept;
    Worker* home_;
    Resource* next_ = nullptr;
    Resource* previous_ = nullptr;
    bool is_retired_ = false;            // which of the worker's lists it is in
    std::atomic<bool> orphaned_{false};  // written once by the exiting worker, read by the holders of handles
};

}  // namespace detail
CHAINRING_END_NAMESPACE
