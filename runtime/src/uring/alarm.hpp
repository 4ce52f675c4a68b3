// SPDX-License-Identifier: BSL-1.0
// Alarm: one timeout that is left in the ring (IORING_OP_TIMEOUT), so that waits for the same deadline need none of
// their own. A worker whose Links have limits waits for one deadline thousands of times before it comes, as renewing a
// limit does not move it: each wait would read the clock, hand the kernel a timeout and let it set and cancel a timer.
//
// It is worth two entries when a deadline is asked for a second time. It may go off too early, when what it was set for
// has been cancelled: that is one pass of the worker's loop. It never goes off too late: a wait for an earlier deadline
// has a timeout of its own, or sets the alarm anew.
//
//     if (alarm.covers(deadline)) ...                                  // wait without a timeout
//     if (alarm.pays_for(deadline)) alarm.set(entry, deadline, left);  // from then on it does
//     alarm.went_off(result);                                          // its completion
//
// A new setting that meets one that has just gone off fails; what the old one completes with takes it back.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <liburing.h>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class Alarm {
public:
    // Its completion's user_data, and that of a new setting that failed.
    Alarm(std::uint64_t tag, std::uint64_t ignored_tag) noexcept : tag_(tag), ignored_tag_(ignored_tag) {}

    bool covers(Instant deadline) const noexcept { return at_ <= deadline; }
    bool pays_for(Instant deadline) noexcept { return std::exchange(asked_, deadline) == deadline && works_; }
    // `left`: from now until the deadline, or less, as for a wait of its own. The alarm must live until the entry has
    // been submitted: the kernel reads the time then.
    void set(io_uring_sqe& entry, Instant deadline, Duration left) noexcept {
        time_.tv_sec = left / std::chrono::seconds(1);
        time_.tv_nsec = (left % std::chrono::seconds(1)).count();
        if (at_ == Instant::max()) {
            io_uring_prep_timeout(&entry, &time_, 0, 0);
            io_uring_sqe_set_data64(&entry, tag_);
        } else {
            io_uring_prep_timeout_update(&entry, &time_, tag_, 0);
            entry.flags |= IOSQE_CQE_SKIP_SUCCESS;
            io_uring_sqe_set_data64(&entry, ignored_tag_);
        }
        at_ = deadline;
    }
    void went_off(int result) noexcept {
        at_ = Instant::max();
        works_ = result == -ETIME;  // else each wait has its own timeout from now on
    }

private:
    const std::uint64_t tag_;
    const std::uint64_t ignored_tag_;
    Instant at_ = Instant::max();     // it goes off then or before; max(): it is not set
    Instant asked_ = Instant::max();  // the latest wait that it did not cover
    __kernel_timespec time_{};
    bool works_ = true;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
