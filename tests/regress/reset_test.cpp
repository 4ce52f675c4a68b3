// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/support.hpp"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace support;

namespace {

// A peer that is no Link: blocking calls, which end at once over loopback.
class Peer {
public:
    explicit Peer(const Address& to) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(to.port());
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        REQUIRE(::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0);
    }
    Peer(const Peer&) = delete;
    Peer& operator=(const Peer&) = delete;
    ~Peer() {
        if (fd_ >= 0) ::close(fd_);
    }
    void send(std::string_view text) const {
        REQUIRE(::send(fd_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()));
    }
    bool has_some() const {
        char byte = 0;
        return ::recv(fd_, &byte, 1, MSG_DONTWAIT) == 1;
    }
    void reset() {
        const linger now{1, 0};
        REQUIRE(::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
        ::close(std::exchange(fd_, -1));
    }

private:
    int fd_;
};

// Until the stream is over; says how.
Task<std::error_code> read_all(Link* link) {
    for (;;) {
        const auto chunk = co_await link->recv().within(5s);
        if (!chunk) co_return chunk.error();
    }
}

}  // namespace

// The kernel tells the end of a connection to the first call that asks, and then says that the stream is over. A World
// with seed 197 found it, in chat.
TEST_CASE("a reset that a send was told of first is not the end of the stream for a receive" *
          support::not_simulated()) {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Peer peer(listener.address());
        auto link = (co_await listener.accept()).value();
        peer.send("data");
        peer.reset();
        const auto sent = co_await link.send("nobody takes this").within(5s);
        CHECK(sent.error() == std::errc::connection_reset);
        const std::error_code end = co_await read_all(&link);
        CHECK(end == std::errc::connection_reset);
    });
}

// A send that waits for room goes on when the reset comes: the part that had gone is told, the error nobody.
TEST_CASE("a reset that a send in parts has met is not the end of the stream for a receive" *
          support::not_simulated()) {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Peer peer(listener.address());
        auto link = (co_await listener.accept()).value();
        Scope scope;
        std::error_code sent;
        scope.spawn(
            [](Link* to, std::error_code* error) -> Task<> {
                const std::string much(std::size_t{64} << 20, 'x');
                *error = (co_await to->send(much).within(5s)).error();
            },
            &link, &sent);
        while (!peer.has_some()) co_await yield();  // more than the buffers of both kernels hold: it waits for room
        peer.reset();
        co_await scope.join();
        CHECK(sent);
        CHECK(sent != Errc::timed_out);
        const std::error_code end = co_await read_all(&link);
        CHECK(end == std::errc::connection_reset);
    });
}
