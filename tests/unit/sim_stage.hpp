// SPDX-License-Identifier: BSL-1.0
// A simulated world with a backend on each of its two machines, stepped by the test, and operations that write down how
// they end.
#pragma once

#include "tests/unit/sim_support.hpp"

#include <cstddef>
#include <span>
#include <vector>

namespace simulated {

inline BackendOptions options(unsigned buffers = 64, unsigned size = 4096) {
    return {buffers, size, 0, nullptr};
}

// An operation that writes down what it is told.
template <class Base>
struct Noted : Base {
    explicit Noted(Endpoint* at) : Base(at) { listen(); }
    Noted(OperationKind which, Endpoint* at) : Base(which, at) { listen(); }
    void listen() {
        this->complete = [](Operation& operation, Completion completion) noexcept {
            auto& self = static_cast<Noted&>(static_cast<Base&>(operation));
            self.results.push_back(completion.result);
            if (completion.segment) {
                self.received.insert(self.received.end(), completion.segment->data,
                                     completion.segment->data + completion.segment->size);
                completion.segment->release();
            }
            if (!completion.more) ++self.ends;
        };
    }
    std::vector<int> results;
    std::vector<std::byte> received;
    int ends = 0;
};
using Reading = Noted<Operation>;
using Sending = Noted<SendOperation>;
using Connecting = Noted<ConnectOperation>;

// A world with a backend on each machine.
struct Stage : World {
    explicit Stage(std::uint64_t seed = 1, Mischief mischief = Mischief::none(), unsigned buffers = 64)
        : World(seed, mischief), near(client, options(buffers)), far(server, options(buffers)) {}

    // Polls who is ready, in seeded order, and lets time pass when nobody is. False: nothing will ever happen.
    bool step() {
        const bool first = near.ready();
        const bool second = far.ready();
        if (!first && !second) {
            if (timeline.next() == Instant::max()) return false;
            timeline.advance_to(timeline.next());
            return true;
        }
        const bool choose = random.chance(1, 2);
        SimBackend& backend = first && (!second || choose) ? near : far;
        trace.at(backend.machine().number(), 0);
        backend.poll();
        return true;
    }
    void run() {
        while (step()) {
        }
    }
    // A connection, its ends in `out` (the client's) and `in`.
    void join_endpoints() {
        join();
        out.fd = here;
        in.fd = there;
    }

    SimBackend near;
    SimBackend far;
    Endpoint out;
    Endpoint in;
};

inline Sending sending(Endpoint& at, std::span<const std::byte> data) {
    Sending made(&at);
    made.data = data.data();
    made.size = static_cast<std::uint32_t>(data.size());
    return made;
}

}  // namespace simulated
