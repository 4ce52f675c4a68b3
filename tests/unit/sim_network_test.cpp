// SPDX-License-Identifier: BSL-1.0
// The simulated network: connections and their ends, through the calls of its machines. What Linux answers was looked
// up on Linux 6.18.
#include "tests/unit/sim_support.hpp"

#include <algorithm>

using namespace simulated;

TEST_CASE("sim: a connection takes the time of its way, and bytes come in order") {
    World world;
    Conditions slow;
    slow.latency = 10ms;
    slow.jitter = 3ms;
    world.network.set_conditions(world.client, world.server, slow);
    world.network.set_conditions(world.server, world.client, slow);
    const int listener = world.listen(world.server, ip("0.0.0.0", 7000));
    const int fd = world.connect(world.client, ip("10.0.0.2", 7000));
    CHECK(world.client.connect_outcome(fd) == -EINPROGRESS);
    CHECK(world.send(world.client, fd, 10) == -EAGAIN);
    world.run_for(19ms);
    CHECK(world.client.connect_outcome(fd) == -EINPROGRESS);
    world.run_for(8ms);
    CHECK(world.client.connect_outcome(fd) == 0);
    world.run_for(20ms);
    const int accepted = world.server.accept(listener);
    REQUIRE(accepted > 0);
    CHECK(world.server.accept(listener) == -EAGAIN);
    for (std::size_t part = 0; part < 10; ++part) CHECK(world.client.send(fd, bytes(1000, part * 1000)) == 1000);
    CHECK(world.recv_result(world.server, accepted) == -EAGAIN);
    world.run_for(14ms);
    CHECK(world.recv(world.server, accepted) == bytes(10'000));
}

TEST_CASE("sim: a receiver that does not read stops the sender, and lets it go on") {
    World world;
    world.join();
    const std::vector<std::byte> all = bytes(1 << 20);
    std::vector<std::byte> received;
    std::size_t sent = 0;
    const auto push = [&] {
        for (;;) {
            const int part = world.client.send(world.here, std::span(all).subspan(sent));
            if (part <= 0) return part;
            sent += static_cast<std::size_t>(part);
            world.run_for(1ms);
        }
    };
    CHECK(push() == -EAGAIN);
    CHECK(sent == 128 * 1024);  // the one's receive buffer and the other's send buffer
    world.run_for(1h);
    CHECK(push() == -EAGAIN);
    while (received.size() < all.size()) {
        const std::vector<std::byte> part = world.recv(world.server, world.there, 5000);
        REQUIRE(part.size() > 0);
        received.insert(received.end(), part.begin(), part.end());
        world.run_for(1ms);
        push();
    }
    CHECK(received == all);
    CHECK(world.client.is_open(world.here));
}

TEST_CASE("sim: half close both ways, and a close after it ends the connection") {
    World world;
    world.join();
    world.send(world.client, world.here, 10);
    CHECK(world.client.shutdown_write(world.here) == 0);
    CHECK(world.client.shutdown_write(world.here) == 0);
    CHECK(world.send(world.client, world.here, 10) == -EPIPE);
    world.run_for(5ms);
    CHECK(world.recv_result(world.server, world.there) == 10);
    CHECK(world.recv_result(world.server, world.there) == 0);
    CHECK(world.recv_result(world.server, world.there) == 0);
    CHECK(world.send(world.server, world.there, 20) == 20);
    world.server.close(world.there);
    world.run_for(5ms);
    CHECK(world.recv_result(world.client, world.here) == 20);
    CHECK(world.recv_result(world.client, world.here) == 0);
    world.client.close(world.here);
    world.run_for(5ms);
    CHECK(world.timeline.next() == Instant::max());
    CHECK(world.network.totals().resets == 0);
}

TEST_CASE("sim: resets are told as Linux tells them") {
    World world;
    world.join();
    Machine& client = world.client;
    Machine& server = world.server;
    const auto recv = [&] { return world.recv_result(server, world.there); };
    const auto send = [&] { return world.send(server, world.there, 1); };
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;

    SUBCASE("data that came before it can be read") {
        world.send(client, world.here, 100);
        client.reset_on_close(world.here);
        client.close(world.here);
        world.run_for(5ms);
        CHECK(server.peer_name(world.there, storage, size) == ENOTCONN);
        CHECK(recv() == 100);
        CHECK(recv() == -ECONNRESET);
        CHECK(recv() == 0);
        CHECK(send() == -EPIPE);
        CHECK(server.shutdown_write(world.there) == ENOTCONN);
    }
    SUBCASE("who writes first is told first") {
        client.reset_on_close(world.here);
        client.close(world.here);
        world.run_for(5ms);
        CHECK(send() == -ECONNRESET);
        CHECK(send() == -EPIPE);
        CHECK(recv() == 0);
    }
    SUBCASE("after FIN it is a broken pipe") {
        client.shutdown_write(world.here);
        world.run_for(5ms);
        client.reset_on_close(world.here);
        client.close(world.here);
        world.run_for(5ms);
        CHECK(recv() == 0);
        CHECK(send() == -EPIPE);
        CHECK(send() == -EPIPE);
    }
    SUBCASE("data to a closed socket is answered by it") {
        client.close(world.here);
        world.run_for(5ms);
        CHECK(send() == 1);
        world.run_for(5ms);
        CHECK(send() == -EPIPE);
        CHECK(recv() == 0);
    }
    SUBCASE("closing with unread data sends it") {
        send();
        world.run_for(5ms);
        client.close(world.here);
        world.run_for(5ms);
        CHECK(recv() == -ECONNRESET);
        CHECK(send() == -EPIPE);
    }
    SUBCASE("it is put in by somebody on the way") {
        CHECK(world.network.reset(server, world.there));
        CHECK(recv() == -ECONNRESET);
        CHECK(world.recv_result(client, world.here) == -ECONNRESET);
        client.close(world.here);
    }
    server.close(world.there);
    world.run_for(5ms);
    CHECK(world.timeline.next() == Instant::max());  // nothing is left of it
}

TEST_CASE("sim: unix sockets tell of a close as Linux does") {
    World world;
    Machine& server = world.server;
    const int listener = world.listen(server, path("@name"));
    const int here = world.connect(server, path("@name"));
    const int there = server.accept(listener);
    world.send(server, here, 100);
    SUBCASE("with unread data") {
        server.close(there);
        CHECK(world.send(server, here, 1) == -EPIPE);
        CHECK(world.recv_result(server, here) == -ECONNRESET);
        CHECK(world.recv_result(server, here) == 0);
    }
    SUBCASE("with data on its way to the other") {
        server.close(here);
        CHECK(world.recv_result(server, there) == 100);
        CHECK(world.recv_result(server, there) == 0);
        CHECK(world.send(server, there, 1) == -EPIPE);
    }
    SUBCASE("in the listener's queue") {
        const int queued = world.connect(server, path("@name"));
        server.close(listener);
        CHECK(world.recv_result(server, queued) == -ECONNRESET);
        CHECK(world.recv_result(server, queued) == 0);
    }
    CHECK(world.timeline.next() == Instant::max());
}

TEST_CASE("sim: bandwidth is shared by the connections of a way") {
    World world;
    Conditions narrow;
    narrow.bandwidth = 1'000'000;
    narrow.jitter = {};
    world.network.set_conditions(world.client, world.server, narrow);
    world.join();
    const int other = world.connect(world.client, ip("10.0.0.2", 7000));
    world.run_for(5ms);
    const int accepted = world.server.accept(world.listener);
    world.send(world.client, world.here, 50'000);
    world.send(world.client, other, 50'000);
    world.run_for(51ms);
    CHECK(world.recv_result(world.server, world.there) == 50'000);
    CHECK(world.recv_result(world.server, accepted) == -EAGAIN);
    world.run_for(50ms);
    CHECK(world.recv_result(world.server, accepted) == 50'000);
}

TEST_CASE("sim: segments are cut, joined and late, and the stream stays what it was") {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        Mischief rough = Mischief::none();
        rough.split = 700;
        rough.coalesce = 500;
        rough.lose = 50;
        World world(seed, rough);
        world.join();
        const std::vector<std::byte> all = bytes(100'000);
        std::vector<std::byte> received;
        std::size_t sent = 0;
        for (int turn = 0; received.size() < all.size() && turn < 100'000; ++turn) {
            const std::size_t most = std::min<std::size_t>(world.random.between(1, 3000), all.size() - sent);
            sent += static_cast<std::size_t>(
                std::max(0, world.client.send(world.here, std::span(all).subspan(sent, most))));
            const std::vector<std::byte> part = world.recv(world.server, world.there);
            received.insert(received.end(), part.begin(), part.end());
            if (world.random.chance(1, 500)) world.network.block(world.client, world.server);
            if (world.random.chance(1, 50)) world.network.heal(world.client, world.server);
            world.run_for(Duration(world.random.below(1'000'000)));
        }
        CHECK_MESSAGE(received == all, "seed " << seed);
    }
}
