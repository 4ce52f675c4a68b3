// SPDX-License-Identifier: BSL-1.0
// The simulated network: names, listening and connecting. What Linux answers was looked up on Linux 6.18.
#include "tests/unit/sim_support.hpp"

#include <algorithm>

using namespace simulated;

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
