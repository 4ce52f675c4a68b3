// SPDX-License-Identifier: BSL-1.0
// hops: tasks that meet on two workers and have nothing else to wait for than a timer that is far away.
#include "tests/sim/scenarios.hpp"

namespace scenarios {
namespace {

Task<> hop(sim::World* world, Event* mine, Event* theirs, unsigned rounds) {
    for (unsigned round = 0; round < rounds; ++round) {
        (void)co_await mine->wait();
        mine->reset();
        co_await resume_on(static_cast<unsigned>(below(*world, 2)));
        if (below(*world, 2) == 0) co_await yield();
        theirs->set();
    }
}

Task<> sleep_on() {
    (void)co_await sleep_for(1min);
}

Task<> hop_about(sim::World* world) {
    Event ping;
    Event pong;
    ping.set();
    Scope sleepers;
    for (unsigned worker = 0; worker < 2; ++worker) sleepers.spawn_on(worker, sleep_on);
    Scope scope;
    scope.spawn(hop, world, &ping, &pong, 200U);
    scope.spawn(hop, world, &pong, &ping, 200U);
    co_await scope.join();
    sleepers.cancel();
    co_await sleepers.join();
}

}  // namespace

void hops(sim::World& world) {
    sim::Host& host = world.add_host("host");
    host.start(hop_about, &world);
    world.run();
    hold(world.elapsed() < 1s, "who has been woken does not sleep until a timer");
}

}  // namespace scenarios
