// SPDX-License-Identifier: BSL-1.0
// What this program replaces of the kernel, so that a run is the same each time: the clock, and the waiting.
//
// - clock_gettime (kernel.cpp) is a counter: each reading is a little later than the one before, and a wait with a time
//   limit that nothing ends moves it to the limit at once. Timers fire in virtual time.
// - epoll_pwait2 (and what waits in liburing, ring.cpp) plays what is on the other side of the sockets while the worker
//   waits, and comes back when all that it has brought about is there: what a pass of the loop finds does not depend on
//   how fast anybody is.
// - With two workers under lock_step(), the one that was woken goes on when the other has gone to sleep.
//
// Under callgrind nothing is counted below the functions named costs_uncounted*.
#pragma once

#include <chrono>

namespace costs {

// The other side of the sockets, played on the thread of the worker, while it waits.
class Peer {
public:
    // Does what there is to do; how many descriptors have become ready by it. With 0 the worker waits for real.
    virtual int play() noexcept = 0;

protected:
    ~Peer() = default;
};
void set_peer(Peer* peer) noexcept;  // null: there is none
Peer* peer() noexcept;

void lock_step(bool on) noexcept;  // by the worker that runs, while the other one sleeps or is about to

void let_time_pass(std::chrono::nanoseconds time) noexcept;

}  // namespace costs
