// SPDX-License-Identifier: BSL-1.0
// The simulated network: partitions, machines and processes that end, and a storm of everything.
#include "tests/unit/sim_support.hpp"

#include <algorithm>

using namespace simulated;

TEST_CASE("sim: what is sent into a partition arrives after it, and too long a one ends the connection") {
    World world;
    world.join();
    Machine& client = world.client;
    Machine& server = world.server;
    SUBCASE("one way") {
        world.network.block(client, server);
        CHECK(world.send(client, world.here, 1000) == 1000);
        CHECK(world.send(server, world.there, 5) == 5);
        world.run_for(60s);
        CHECK(world.recv_result(server, world.there) == -EAGAIN);
        CHECK(world.recv_result(client, world.here) == 5);  // the other way is open
        world.network.heal(client, server);
        world.run_for(60s);
        CHECK(world.recv(server, world.there) == bytes(1000));
    }
    SUBCASE("what was in flight is sent again") {
        world.send(client, world.here, 1000);
        client.shutdown_write(world.here);
        world.network.block(client, server);
        world.run_for(1s);
        CHECK(world.recv_result(server, world.there) == -EAGAIN);
        world.network.heal(client, server);
        world.run_for(2s);
        CHECK(world.recv_result(server, world.there) == 1000);
        CHECK(world.recv_result(server, world.there) == 0);
    }
    SUBCASE("acknowledgements are lost: the data arrives, the sender gives up") {
        world.network.block(server, client);
        world.send(client, world.here, 1000);
        world.run_for(900s);
        CHECK(world.recv_result(client, world.here) == -EAGAIN);
        CHECK(world.recv_result(server, world.there) == 1000);
        world.run_for(300s);
        CHECK(world.recv_result(client, world.here) == -ETIMEDOUT);
        CHECK(world.send(client, world.here, 1) == -EPIPE);
        CHECK(world.recv_result(server, world.there) == -EAGAIN);  // it knows nothing of it
        world.network.heal(server, client);
        world.send(server, world.there, 1);
        world.run_for(1s);
        CHECK(world.recv_result(server, world.there) == -ECONNRESET);
    }
    SUBCASE("a window that opens is not heard of") {
        while (world.send(client, world.here, 10'000) > 0) world.run_for(1ms);
        world.network.block(server, client);
        CHECK(world.recv_result(server, world.there) == 64 * 1024);
        world.run_for(100ms);
        world.network.heal(server, client);
        CHECK(world.recv_result(server, world.there) == -EAGAIN);
        world.run_for(1s);
        CHECK(world.recv_result(server, world.there) == 64 * 1024);
    }
    SUBCASE("idle connections do not notice") {
        world.network.block(client, server);
        world.network.block(server, client);
        world.run_for(10h);
        world.network.heal(client, server);
        world.network.heal(server, client);
        world.send(client, world.here, 10);
        world.run_for(5ms);
        CHECK(world.recv_result(server, world.there) == 10);
    }
}

TEST_CASE("sim: a killed process closes its sockets, a power cut is silence") {
    World world;
    world.join();
    Machine& client = world.client;
    Machine& server = world.server;
    SUBCASE("killed") {
        world.send(client, world.here, 10);
        world.run_for(5ms);
        const int idle = world.connect(client, ip("10.0.0.2", 7000));
        world.run_for(5ms);
        server.accept(world.listener);
        server.kill_process();
        CHECK(server.open_descriptors() == 0);
        CHECK(world.recv_result(server, world.there) == -EBADF);
        world.run_for(5ms);
        CHECK(world.recv_result(client, world.here) == -ECONNRESET);  // with unread data
        CHECK(world.recv_result(client, idle) == 0);
        const int fd = world.connect(client, ip("10.0.0.2", 7000));
        world.run_for(5ms);
        CHECK(client.connect_outcome(fd) == -ECONNREFUSED);
    }
    SUBCASE("off and on again: RST answers who sends") {
        server.power_off();
        world.run_for(10s);
        CHECK(world.recv_result(client, world.here) == -EAGAIN);
        world.send(client, world.here, 10);
        world.run_for(10s);
        server.power_on();
        world.run_for(30s);
        CHECK(world.recv_result(client, world.here) == -ECONNRESET);
    }
    SUBCASE("off for good") {
        world.send(client, world.here, 10);
        server.power_off();
        world.run_for(1100s);
        CHECK(world.recv_result(client, world.here) == -ETIMEDOUT);
    }
    SUBCASE("off while its window was shut") {
        while (world.send(client, world.here, 10'000) > 0) world.run_for(1ms);
        server.power_off();
        world.run_for(1100s);
        CHECK(world.recv_result(client, world.here) == -ETIMEDOUT);
        client.close(world.here);
        CHECK(world.timeline.next() == Instant::max());
    }
    SUBCASE("off with a FIN on its way") {
        client.close(world.here);
        server.power_off();
        world.run_for(1100s);
        CHECK(world.timeline.next() == Instant::max());
    }
}

// Programs that do anything at any time, in a world where anything happens: what arrives of a stream is what was sent,
// from its beginning; and when everything is closed and healed, nothing is left.
TEST_CASE("sim: streams stay whole in a storm of everything, and all of it ends") {
    struct Half {
        Machine* machine;
        int fd;
        std::uint32_t incarnation;
        std::uint16_t port;  // the client's: both halves of a connection have it, and no other pair within this test
        bool accepted;
        std::size_t sent = 0;
        std::size_t received = 0;
    };
    for (std::uint64_t seed = 1; seed <= 60; ++seed) {
        Mischief mischief = Mischief::none();
        mischief.split = 300;
        mischief.coalesce = 300;
        mischief.lose = 30;
        World world(seed, mischief);
        Random& random = world.random;
        std::vector<Half> halves;
        std::vector<std::byte> into(20'000);
        int listener = world.listen(world.server, ip("10.0.0.2", 7000), 4);
        bool whole = true;
        const auto alive = [](const Half& half) { return half.machine->incarnation() == half.incarnation; };
        const auto remember = [&](Machine& machine, int fd, bool accepted) {
            sockaddr_storage storage{};
            socklen_t size = sizeof storage;
            Name name;
            const int error = accepted ? machine.peer_name(fd, storage, size) : machine.local_name(fd, storage, size);
            if (error != 0) {
                machine.close(fd);  // it was reset before it was accepted
                return;
            }
            read_name(reinterpret_cast<const sockaddr*>(&storage), size, name);
            halves.push_back({&machine, fd, machine.incarnation(), name.port, accepted});
        };
        const auto recv = [&](Half& half) {
            const std::size_t most = random.between(1, into.size());
            const int size = half.machine->recv(half.fd, std::span(into).first(most));
            if (size <= 0) return;
            const std::size_t from = half.received + half.port + (half.accepted ? 0U : 100U);
            const std::vector<std::byte> expected = bytes(static_cast<std::size_t>(size), from);
            whole = whole && std::equal(expected.begin(), expected.end(), into.begin());
            half.received += static_cast<std::size_t>(size);
        };
        const auto send = [&](Half& half) {
            const std::size_t from = half.sent + half.port + (half.accepted ? 100U : 0U);
            const int size = half.machine->send(half.fd, bytes(random.between(1, 30'000), from));
            if (size > 0) half.sent += static_cast<std::size_t>(size);
        };
        for (int turn = 0; turn < 1500; ++turn) {
            std::erase_if(halves, [&](const Half& half) { return !alive(half); });
            const std::uint64_t what = random.below(100);
            Half* half = halves.empty() ? nullptr : &random.pick(halves);
            if (what < 10) {
                const int fd = world.client.is_up() ? world.connect(world.client, ip("10.0.0.2", 7000)) : -1;
                if (fd >= 0) remember(world.client, fd, false);
            } else if (what < 22) {
                const int fd = world.server.accept(listener);
                if (fd >= 0) remember(world.server, fd, true);
            } else if (what < 50 && half) {
                send(*half);
            } else if (what < 78 && half) {
                recv(*half);
            } else if (what < 80 && half) {
                half->machine->shutdown_write(half->fd);
            } else if (what < 84 && half) {
                if (random.chance(1, 3)) half->machine->reset_on_close(half->fd);
                half->machine->close(half->fd);
                halves.erase(halves.begin() + (half - halves.data()));
            } else if (what < 85) {
                world.network.reset_any();
            } else if (what < 86) {
                world.network.block(world.client, world.server);
            } else if (what < 87) {
                world.network.block(world.server, world.client);
            } else if (what < 91) {
                world.network.heal(world.client, world.server);
                world.network.heal(world.server, world.client);
            } else if (what < 92 && random.chance(1, 4)) {
                Machine& victim = random.chance(1, 2) ? world.client : world.server;
                if (random.chance(1, 2)) {
                    victim.kill_process();
                } else {
                    victim.power_off();
                    world.run_for(Duration(random.below(100'000'000'000)));
                    victim.power_on();
                }
                if (&victim == &world.server) listener = world.listen(world.server, ip("10.0.0.2", 7000), 4);
            }
            const bool long_pause = random.chance(1, 40);
            world.run_for(Duration(random.below(long_pause ? 30'000'000'000 : 2'000'000)));
        }
        CHECK_MESSAGE(whole, "seed " << seed);
        for (const Half& half : halves)
            if (alive(half)) half.machine->close(half.fd);
        world.server.close(listener);
        world.network.heal(world.client, world.server);
        world.network.heal(world.server, world.client);
        world.run_for(2000s);
        CHECK_MESSAGE(world.network.live() == 0, "seed " << seed);
        CHECK_MESSAGE(world.timeline.next() == Instant::max(), "seed " << seed);
        CHECK(world.client.open_descriptors() + world.server.open_descriptors() == 0);
    }
}
