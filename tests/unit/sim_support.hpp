// SPDX-License-Identifier: BSL-1.0
// A small simulated world for the tests of its parts: two machines, and programs that are straight-line code.
#pragma once

#include "runtime/src/sim/network.hpp"
#include "runtime/src/sim/sim_backend.hpp"
#include "tests/unit/support.hpp"

#include <arpa/inet.h>
#include <array>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <string>
#include <sys/un.h>
#include <vector>

namespace simulated {

using namespace chainring;
using namespace chainring::detail;
using namespace chainring::detail::sim;
using namespace std::chrono_literals;

struct Sockaddr {
    sockaddr_storage storage{};
    socklen_t size = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

inline Sockaddr ip(std::string_view host, std::uint16_t port, int family = AF_INET) {
    Sockaddr made;
    made.size = sizeof made.storage;
    Name name;
    name.family = family;
    name.address = HostAddress::parse(host);
    name.port = port;
    write_name(name, made.storage, made.size);
    return made;
}

inline Sockaddr path(std::string_view text) {
    Sockaddr made;
    made.size = sizeof made.storage;
    Name name;
    name.family = AF_UNIX;
    name.path = text;
    if (name.path.front() == '@') name.path.front() = '\0';
    write_name(name, made.storage, made.size);
    return made;
}

inline std::vector<std::byte> bytes(std::size_t size, std::size_t from = 0) {
    std::vector<std::byte> made(size);
    for (std::size_t index = 0; index < size; ++index) made[index] = static_cast<std::byte>((from + index) * 7 % 251);
    return made;
}

struct World {
    explicit World(std::uint64_t seed = 1, Mischief mischief = Mischief::none()) : random(seed) {
        network.mischief = mischief;
        trace.keep(10'000);
    }
    void run_for(Duration duration) { timeline.advance_to(timeline.now() + duration); }
    Duration elapsed() const { return timeline.since_start(); }

    int listen(Machine& on, const Sockaddr& at, int backlog = 16, bool joins = false, bool shares = false) {
        const Result<ListeningSocket> made = on.listen({at.get(), at.size, backlog, joins, shares});
        return made ? made->fd : -made.error().value();
    }
    // A descriptor that is on its way, or a negative errno.
    int connect(Machine& from, const Sockaddr& to) {
        const int fd = from.open_stream(to.storage.ss_family);
        const int error = from.connect(fd, to.get(), to.size);
        if (error == 0 || error == -EINPROGRESS) return fd;
        from.close(fd);
        return error;
    }
    // A connection of client and server, over port 7000.
    void join() {
        listener = listen(server, ip("10.0.0.2", 7000));
        here = connect(client, ip("10.0.0.2", 7000));
        run_for(5ms);
        there = server.accept(listener);
        REQUIRE(client.connect_outcome(here) == 0);
        REQUIRE(there > 0);
    }
    std::vector<std::byte> recv(Machine& on, int fd, std::size_t most = 1 << 20) {
        std::vector<std::byte> into(most);
        const int size = on.recv(fd, into);
        last = size;
        into.resize(static_cast<std::size_t>(std::max(size, 0)));
        return into;
    }
    int recv_result(Machine& on, int fd) {
        recv(on, fd);
        return last;
    }
    int send(Machine& on, int fd, std::size_t size) { return on.send(fd, bytes(size)); }

    Timeline timeline;
    Random random;
    Trace trace{timeline};
    Network network{timeline, random, trace};
    static constexpr std::array<std::string_view, 2> client_addresses = {"10.0.0.1", "fd00::1"};
    static constexpr std::array<std::string_view, 2> server_addresses = {"10.0.0.2", "fd00::2"};
    Machine& client = network.add_machine("client", client_addresses);
    Machine& server = network.add_machine("server", server_addresses);
    int listener = -1;
    int here = -1;   // the client's end
    int there = -1;  // the server's
    int last = 0;
};

}  // namespace simulated
