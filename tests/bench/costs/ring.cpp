// SPDX-License-Identifier: BSL-1.0
// Waiting on io_uring, in place of liburing's: see kernel.hpp.
#include "tests/bench/costs/kernel.hpp"

#include <dlfcn.h>
#include <liburing.h>

namespace {

using Wait = int (*)(io_uring*, io_uring_cqe**, unsigned, __kernel_timespec*, sigset_t*);

Wait real_wait() noexcept {
    static const auto wait = reinterpret_cast<Wait>(::dlsym(RTLD_NEXT, "io_uring_submit_and_wait_timeout"));
    return wait;
}

}  // namespace

extern "C" {

// Waits for all that play() has brought about.
[[gnu::noinline]] int costs_uncounted_ring_wait(io_uring* ring, io_uring_cqe** first, unsigned count,
                                                __kernel_timespec* time, sigset_t* mask) {
    if (costs::peer())
        if (const int expected = costs::peer()->play(); expected > 0) count = static_cast<unsigned>(expected);
    return real_wait()(ring, first, count, time, mask);
}

// The peer comes after all that was submitted has completed and has been dealt with: then every receive is armed.
int io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** first, unsigned count, __kernel_timespec* time,
                                     sigset_t* mask) {
    if (costs::peer()) {
        const int submitted = io_uring_submit_and_get_events(ring);
        if (io_uring_cq_ready(ring) > 0) return submitted;
    }
    return costs_uncounted_ring_wait(ring, first, count, time, mask);
}
}
