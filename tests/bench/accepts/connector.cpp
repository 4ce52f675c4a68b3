// SPDX-License-Identifier: BSL-1.0
// connector PORT THREADS SECONDS: plain sockets that connect to 127.0.0.1:PORT, wait for the server's first byte and
// reset the connection, as fast as they can. Prints how many connections that were, and in how many microseconds:
//
//     connections=51234 microseconds=1000123 thousandth=18900
//
// `thousandth`: how long the slowest thousand in a row took, in microseconds. Each thread has addresses of its own
// (127.1.x.y), whose ports the kernel chooses at connect (IP_BIND_ADDRESS_NO_PORT), so that no address runs out of
// ports.
#include <algorithm>
#include <arpa/inet.h>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

long long microseconds(Clock::duration time) {
    return std::chrono::duration_cast<std::chrono::microseconds>(time).count();
}

sockaddr_in at(std::uint32_t host, std::uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(host);
    address.sin_port = htons(port);
    return address;
}

// Connects from `from`, hears one byte, and resets.
bool connect_once(const sockaddr_in& from, const sockaddr_in& to) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    const linger reset{1, 0};
    char byte = 0;
    ::setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    const bool good = ::bind(fd, reinterpret_cast<const sockaddr*>(&from), sizeof from) == 0 &&
                      ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0 &&
                      ::recv(fd, &byte, 1, 0) == 1;
    if (!good) std::fprintf(stderr, "connector: %s\n", std::strerror(errno));
    ::close(fd);
    return good;
}

struct Count {
    std::uint64_t connections = 0;
    long long slowest = 0;
    bool failed = false;
};

void work(unsigned thread, std::uint16_t port, Clock::time_point end, Count* count) {
    const sockaddr_in to = at(INADDR_LOOPBACK, port);
    auto begun = Clock::now();
    for (auto now = begun; now < end; now = Clock::now()) {
        const auto host = static_cast<std::uint32_t>(count->connections / 1000 % 250 + 1);
        if (!connect_once(at(0x7F010000U + thread * 256 + host, 0), to)) {
            count->failed = true;
            return;
        }
        if (++count->connections % 1000 == 0) {
            const auto thousand = Clock::now();
            count->slowest = std::max(count->slowest, microseconds(thousand - begun));
            begun = thousand;
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return 2;
    const auto port = static_cast<std::uint16_t>(std::atoi(argv[1]));
    const auto threads = static_cast<unsigned>(std::atoi(argv[2]));
    const std::chrono::duration<double> seconds(std::atof(argv[3]));
    std::vector<Count> counts(threads);
    const auto begin = Clock::now();
    const auto end = begin + std::chrono::duration_cast<Clock::duration>(seconds);
    {
        std::vector<std::jthread> workers;
        for (unsigned thread = 0; thread < threads; ++thread)
            workers.emplace_back(work, thread, port, end, &counts[thread]);
    }
    const auto took = microseconds(Clock::now() - begin);
    Count all;
    for (const Count& count : counts) {
        all.connections += count.connections;
        all.slowest = std::max(all.slowest, count.slowest);
        all.failed |= count.failed;
    }
    std::printf("connections=%llu microseconds=%lld thousandth=%lld\n",
                static_cast<unsigned long long>(all.connections), took, all.slowest);
    return all.failed ? 1 : 0;
}
