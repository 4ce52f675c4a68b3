// SPDX-License-Identifier: BSL-1.0
// Waiting on io_uring, in place of liburing's: see kernel.hpp.
#include "tests/bench/costs/kernel.hpp"

#include <dlfcn.h>
#include <liburing.h>

namespace {

// What liburing has under the name of the first argument.
template <class Function>
Function* real([[maybe_unused]] Function* replacement, const char* name) noexcept {
    return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// Waits for all that play() has brought about.
unsigned play(unsigned count) noexcept {
    const int expected = costs::peer() ? costs::peer()->play() : 0;
    return expected > 0 ? static_cast<unsigned>(expected) : count;
}

// The peer comes after all that was submitted has completed and has been dealt with: then every receive is armed.
bool completed_at_once(io_uring* ring, int& submitted) noexcept {
    if (!costs::peer()) return false;
    submitted = io_uring_submit_and_get_events(ring);
    return io_uring_cq_ready(ring) > 0;
}

}  // namespace

extern "C" {

[[gnu::noinline]] int costs_uncounted_ring_wait(io_uring* ring, unsigned count) {
    static const auto wait = real(&io_uring_submit_and_wait, "io_uring_submit_and_wait");
    return wait(ring, play(count));
}

[[gnu::noinline]] int costs_uncounted_ring_wait_timeout(io_uring* ring, io_uring_cqe** first, unsigned count,
                                                        __kernel_timespec* time, sigset_t* mask) {
    static const auto wait = real(&io_uring_submit_and_wait_timeout, "io_uring_submit_and_wait_timeout");
    return wait(ring, first, play(count), time, mask);
}

int io_uring_submit_and_wait(io_uring* ring, unsigned count) {
    int submitted = 0;
    return completed_at_once(ring, submitted) ? submitted : costs_uncounted_ring_wait(ring, count);
}

int io_uring_submit_and_wait_timeout(io_uring* ring, io_uring_cqe** first, unsigned count, __kernel_timespec* time,
                                     sigset_t* mask) {
    int submitted = 0;
    if (completed_at_once(ring, submitted)) return submitted;
    return costs_uncounted_ring_wait_timeout(ring, first, count, time, mask);
}
}
