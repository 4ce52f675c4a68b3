// SPDX-License-Identifier: BSL-1.0
// The simulated network, through the calls of its machines. What Linux answers was looked up on Linux 6.18.
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

TEST_CASE("sim: names are those that Linux gives") {
    World world;
    world.join();
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    const auto named = [&](Machine& machine, int fd, bool peer) {
        size = sizeof storage;
        const int error = peer ? machine.peer_name(fd, storage, size) : machine.local_name(fd, storage, size);
        if (error != 0) return std::to_string(error);
        Name name;
        if (size == sizeof(sa_family_t)) return std::string("unnamed");
        read_name(reinterpret_cast<const sockaddr*>(&storage), size, name);
        return name.to_string();
    };
    CHECK(named(world.client, world.here, true) == "10.0.0.2:7000");
    CHECK(named(world.server, world.there, true) == named(world.client, world.here, false));
    CHECK(named(world.server, world.listener, false) == "10.0.0.2:7000");
    CHECK(named(world.server, world.listener, true) == std::to_string(ENOTCONN));
    CHECK(named(world.server, 99, false) == std::to_string(EBADF));

    const int dual = world.listen(world.server, ip("::", 7001, AF_INET6));
    const int fd = world.connect(world.client, ip("10.0.0.2", 7001));
    world.run_for(5ms);
    const int accepted = world.server.accept(dual);
    const std::string port = named(world.client, fd, false);
    CHECK(storage.ss_family == AF_INET);
    CHECK(named(world.server, accepted, true) == port);
    CHECK(named(world.server, accepted, false) == "10.0.0.2:7001");
    CHECK(storage.ss_family == AF_INET6);

    const int local = world.listen(world.server, path("/run/socket"));
    CHECK(named(world.server, local, false) == "unix:/run/socket");
    const int unix_fd = world.connect(world.server, path("/run/socket"));
    CHECK(named(world.server, unix_fd, true) == "unix:/run/socket");
    CHECK(named(world.server, world.server.accept(local), true) == "unnamed");
}

TEST_CASE("sim: binding finds ports that are taken and addresses that are not there") {
    World world;
    Machine& server = world.server;
    const int first = world.listen(server, ip("10.0.0.2", 7000), 16, false, true);
    CHECK(first == 3);
    CHECK(world.listen(server, ip("10.0.0.2", 7000)) == -EADDRINUSE);
    CHECK(world.listen(server, ip("0.0.0.0", 7000)) == -EADDRINUSE);
    CHECK(world.listen(server, ip("::", 7000, AF_INET6)) == -EADDRINUSE);
    CHECK(world.listen(server, ip("10.0.0.2", 7000), 16, true) == 4);
    CHECK(world.listen(server, ip("127.0.0.1", 7000)) == 5);
    CHECK(world.listen(server, ip("10.0.0.9", 7000)) == -EADDRNOTAVAIL);
    CHECK(world.listen(server, ip("10.0.0.2", 0)) == 6);
    CHECK(world.listen(server, ip("10.0.0.2", 0)) == 7);
    server.limits.descriptors = 9;
    CHECK(world.listen(server, ip("10.0.0.2", 0)) == 8);
    CHECK(world.listen(server, ip("10.0.0.2", 0)) == -EMFILE);
    server.close(5);
    CHECK(world.listen(server, ip("10.0.0.2", 0)) == 5);
    // Both that share the port get some.
    server.limits.descriptors = 100;
    for (int turn = 0; turn < 16; ++turn) world.connect(world.client, ip("10.0.0.2", 7000));
    world.run_for(5ms);
    const int shares = server.accept(first);
    CHECK(shares > 0);
    CHECK(server.accept(4) > 0);
}

TEST_CASE("sim: unix paths and abstract names, live and stale") {
    World world;
    Machine& server = world.server;
    CHECK(world.connect(server, path("/run/socket")) == -ENOENT);
    CHECK(world.connect(server, path("@name")) == -ECONNREFUSED);
    const Sockaddr at = path("/run/socket");
    const Result<ListeningSocket> made = server.listen({at.get(), at.size, 1, false, false});
    REQUIRE(made);
    CHECK(made->path_inode != 0);
    CHECK(world.listen(server, path("/run/socket")) == -EADDRINUSE);
    CHECK(world.connect(world.client, path("/run/socket")) == -ENOENT);  // another machine's file system
    const int fd = world.connect(server, path("/run/socket"));
    CHECK(world.connect(server, path("/run/socket")) > 0);
    CHECK(world.connect(server, path("/run/socket")) == -EAGAIN);  // the queue is full
    const int accepted = server.accept(made->fd);
    CHECK(world.send(server, fd, 100) == 100);
    CHECK(world.recv(server, accepted) == bytes(100));  // at once
    server.close(made->fd);
    CHECK(world.connect(server, path("/run/socket")) == -ECONNREFUSED);  // stale
    const Result<ListeningSocket> again = server.listen({at.get(), at.size, 1, false, false});
    REQUIRE(again);
    CHECK(again->path_inode != made->path_inode);
    server.remove_path({at.get(), at.size, 0, false, false}, made->path_inode);  // no longer ours
    CHECK(world.connect(server, path("/run/socket")) > 0);
    server.remove_path({at.get(), at.size, 0, false, false}, again->path_inode);
    CHECK(world.connect(server, path("/run/socket")) == -ENOENT);
    const int abstract = world.listen(server, path("@name"));
    CHECK(world.connect(server, path("@name")) > 0);
    server.close(abstract);
    CHECK(world.connect(server, path("@name")) == -ECONNREFUSED);
    CHECK(world.listen(server, path("@name")) > 0);
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

TEST_CASE("sim: a connect that nobody answers is refused, tried again, or given up") {
    World world;
    Machine& client = world.client;
    SUBCASE("a closed port refuses") {
        const int fd = world.connect(client, ip("10.0.0.2", 1));
        world.run_for(5ms);
        CHECK(client.connect_outcome(fd) == -ECONNREFUSED);
        CHECK(client.close(fd) == 0);
        CHECK(world.timeline.next() == Instant::max());
    }
    SUBCASE("silence ends after 127 seconds") {
        world.server.power_off();
        const int fd = world.connect(client, ip("10.0.0.2", 7000));
        world.run_for(126s);
        CHECK(client.connect_outcome(fd) == -EINPROGRESS);
        world.run_for(2s);
        CHECK(client.connect_outcome(fd) == -ETIMEDOUT);
    }
    SUBCASE("nobody has that address") {
        const int fd = world.connect(client, ip("10.0.0.77", 7000));
        world.network.block(world.server, client);
        world.run_for(130s);
        CHECK(client.connect_outcome(fd) == -ETIMEDOUT);
    }
    SUBCASE("a partition heals before the third try") {
        world.listen(world.server, ip("10.0.0.2", 7000));
        world.network.block(world.server, client);
        const int fd = world.connect(client, ip("10.0.0.2", 7000));
        world.run_for(2s);
        world.network.heal(world.server, client);
        CHECK(client.connect_outcome(fd) == -EINPROGRESS);
        world.run_for(1100ms);
        CHECK(client.connect_outcome(fd) == 0);
    }
    SUBCASE("a full queue drops SYNs") {
        const int listener = world.listen(world.server, ip("10.0.0.2", 7000), 1);
        std::array<int, 3> fds{};
        for (int& fd : fds) fd = world.connect(client, ip("10.0.0.2", 7000));
        world.run_for(500ms);
        const auto waiting =
            std::count_if(fds.begin(), fds.end(), [&](int fd) { return client.connect_outcome(fd) == -EINPROGRESS; });
        CHECK(waiting == 1);  // Linux queues one more than the backlog
        CHECK(world.network.totals().syns_dropped == 1);
        CHECK(world.server.accept(listener) > 0);
        world.run_for(600ms);
        for (const int fd : fds) CHECK(client.connect_outcome(fd) == 0);
    }
    SUBCASE("the listener closes with connections in its queue") {
        const int listener = world.listen(world.server, ip("10.0.0.2", 7000));
        const int fd = world.connect(client, ip("10.0.0.2", 7000));
        world.run_for(5ms);
        CHECK(client.connect_outcome(fd) == 0);
        world.server.close(listener);
        world.run_for(5ms);
        CHECK(world.recv_result(client, fd) == -ECONNRESET);
    }
    SUBCASE("the client closes before the answer") {
        const int listener = world.listen(world.server, ip("10.0.0.2", 7000));
        const int fd = world.connect(client, ip("10.0.0.2", 7000));
        client.close(fd);
        world.run_for(10s);
        CHECK(world.server.accept(listener) == -EAGAIN);
        CHECK(world.timeline.next() == Instant::max());
    }
}

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
