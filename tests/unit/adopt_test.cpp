// SPDX-License-Identifier: BSL-1.0
// Descriptors that were made elsewhere, options of sockets, and what the kernel tells of a connection.
#include "tests/unit/support.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace support;

namespace {

int option_of(int fd, int level, int name) {
    int value = 0;
    socklen_t size = sizeof value;
    REQUIRE(getsockopt(fd, level, name, &value, &size) == 0);
    return value;
}

// The highest descriptor that is open: the one made last, when none was closed below it.
int latest_socket(std::uint16_t local_port) {
    for (int fd = 1023; fd > 2; --fd) {
        sockaddr_in name{};
        socklen_t size = sizeof name;
        if (getsockname(fd, reinterpret_cast<sockaddr*>(&name), &size) == 0 && name.sin_family == AF_INET &&
            ntohs(name.sin_port) == local_port && option_of(fd, SOL_SOCKET, SO_ACCEPTCONN) == 0)
            return fd;
    }
    return -1;
}

int listening_socket() {
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    const Address any = *Address::parse("127.0.0.1:0");
    REQUIRE(bind(fd, static_cast<const sockaddr*>(any.data()), static_cast<socklen_t>(any.size())) == 0);
    REQUIRE(listen(fd, 16) == 0);
    return fd;
}

Task<> echo(Link link) {
    while (auto chunk = co_await link.recv())
        if (!co_await link.send(std::move(*chunk))) break;
}

SocketOptions all_options() {
    SocketOptions options;
    options.keepalive_idle = 31s;
    options.keepalive_interval = 7s;
    options.keepalive_count = 4;
    options.user_timeout = 12'345ms;
    options.send_buffer = 40'000;
    options.receive_buffer = 50'000;
    return options;
}

void check_options(int fd) {
    CHECK(option_of(fd, SOL_SOCKET, SO_KEEPALIVE) == 1);
    CHECK(option_of(fd, IPPROTO_TCP, TCP_KEEPIDLE) == 31);
    CHECK(option_of(fd, IPPROTO_TCP, TCP_KEEPINTVL) == 7);
    CHECK(option_of(fd, IPPROTO_TCP, TCP_KEEPCNT) == 4);
    CHECK(option_of(fd, IPPROTO_TCP, TCP_USER_TIMEOUT) == 12'345);
    CHECK(option_of(fd, SOL_SOCKET, SO_SNDBUF) == 80'000);
    CHECK(option_of(fd, SOL_SOCKET, SO_RCVBUF) == 100'000);
    CHECK(option_of(fd, IPPROTO_TCP, TCP_NODELAY) == 1);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
}

}  // namespace

TEST_CASE("a connected socket from elsewhere becomes a Link, whichever mode it was in" * not_simulated()) {
    for (const int flags : {0, static_cast<int>(SOCK_NONBLOCK)}) {
        in_runtime(
            [](int type) -> Task<> {
                std::array<int, 2> ends{};
                REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | type, 0, ends.data()) == 0);
                auto near = Link::adopt(ends[0]).value();
                auto far = Link::adopt(ends[1]).value();
                CHECK((fcntl(ends[0], F_GETFD) & FD_CLOEXEC) != 0);
                const std::string large(1'000'000, 'l');
                Scope scope;
                scope.spawn([](Link* link, const std::string* text) -> Task<> { (co_await link->send(*text)).value(); },
                            &near, &large);
                std::vector<std::byte> back(large.size());
                (co_await far.recv_exact(back)).value();
                CHECK(as_text(back) == large);
                co_await scope.join();
                co_await near.close();
                CHECK(fcntl(ends[0], F_GETFD) < 0);  // it was the Link's
            },
            flags);
    }
}

TEST_CASE("an adopted TCP connection is set up as our own are" * not_simulated()) {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        const Address to = listener.address();
        const int fd = socket(AF_INET, SOCK_STREAM, 0);
        REQUIRE(connect(fd, static_cast<const sockaddr*>(to.data()), static_cast<socklen_t>(to.size())) == 0);
        auto link = Link::adopt(fd, all_options()).value();
        check_options(fd);
        CHECK(link.peer()->to_string() == to.to_string());
        auto accepted = (co_await listener.accept()).value();
        (co_await accepted.send("hello")).value();
        auto chunk = co_await link.recv();
        CHECK(chunk->to_string() == "hello");
    });
}

TEST_CASE("a listening socket from elsewhere becomes a Listener" * not_simulated()) {
    for (const bool unix_path : {false, true}) {
        in_runtime(
            [](bool with_path) -> Task<> {
                const std::string path = "/tmp/chainring-adopt-" + std::to_string(getpid());
                int fd = -1;
                if (with_path) {
                    fd = socket(AF_UNIX, SOCK_STREAM, 0);
                    const Address at = *Address::parse("unix:" + path);
                    REQUIRE(bind(fd, static_cast<const sockaddr*>(at.data()), static_cast<socklen_t>(at.size())) == 0);
                    REQUIRE(listen(fd, 16) == 0);
                } else {
                    fd = listening_socket();
                }
                auto listener = Listener::adopt(fd).value();
                const Address address = listener.address();
                Scope serving;
                serving.spawn([](Listener* from) -> Task<> { co_await from->serve(echo); }, &listener);
                auto link = (co_await Link::connect(address)).value();
                (co_await link.send("ping")).value();
                auto back = co_await link.recv();
                CHECK(back->to_string() == "ping");
                serving.cancel();
                co_await serving.join();
                listener = Listener();
                if (with_path) {
                    CHECK(access(path.c_str(), F_OK) == 0);  // it was not ours to remove
                    unlink(path.c_str());
                }
            },
            unix_path);
    }
}

TEST_CASE("what cannot be adopted is refused with a reason, and stays the caller's" * not_simulated()) {
    const int before = descriptors();
    in_runtime([]() -> Task<> {
        std::array<int, 2> pipe_ends{};
        REQUIRE(pipe(pipe_ends.data()) == 0);
        const int datagram = socket(AF_INET, SOCK_DGRAM, 0);
        std::array<int, 2> packets{};
        REQUIRE(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, packets.data()) == 0);
        const int fresh = socket(AF_INET, SOCK_STREAM, 0);
        const int listening = listening_socket();
        CHECK(Link::adopt(-1).error() == std::errc::bad_file_descriptor);
        CHECK(Link::adopt(pipe_ends[0]).error() == std::errc::not_a_socket);
        CHECK(Link::adopt(datagram).error() == std::errc::wrong_protocol_type);
        CHECK(Link::adopt(packets[0]).error() == std::errc::wrong_protocol_type);
        CHECK(Link::adopt(fresh).error() == std::errc::not_connected);
        CHECK(Link::adopt(listening).error() == std::errc::not_connected);
        CHECK(Listener::adopt(-1).error() == std::errc::bad_file_descriptor);
        CHECK(Listener::adopt(pipe_ends[0]).error() == std::errc::not_a_socket);
        CHECK(Listener::adopt(datagram).error() == std::errc::wrong_protocol_type);
        CHECK(Listener::adopt(fresh).error() == std::errc::invalid_argument);
        ListenOptions shared;
        shared.spread = Spread::reuse_port;
        CHECK(Listener::adopt(listening, shared).error() == Errc::not_supported);
        ListenOptions impossible;
        impossible.socket.keepalive_idle = 1'000'000s;
        CHECK(Listener::adopt(listening, impossible).error() == std::errc::invalid_argument);
        for (const int fd : {pipe_ends[0], pipe_ends[1], datagram, packets[0], packets[1], fresh, listening})
            CHECK(close(fd) == 0);
        co_return;
    });
    CHECK(descriptors() == before);
}

TEST_CASE("a Listener's socket options are those of each connection; connect has its own" * not_simulated()) {
    in_runtime([]() -> Task<> {
        ListenOptions options;
        options.socket = all_options();
        auto listener = (co_await Listener::bind("127.0.0.1:0", options)).value();
        auto link = (co_await Link::connect(listener.address(), all_options())).value();
        auto accepted = (co_await listener.accept()).value();
        check_options(latest_socket(link.local()->port()));
        check_options(latest_socket(accepted.local()->port()));
        CHECK(option_of(latest_socket(accepted.local()->port()), SOL_SOCKET, SO_REUSEADDR) == 1);

        auto plain = (co_await Listener::bind("127.0.0.1:0")).value();
        auto client = (co_await Link::connect(plain.address())).value();
        auto served = (co_await plain.accept()).value();
        for (const std::uint16_t port : {client.local()->port(), served.local()->port()}) {
            CHECK(option_of(latest_socket(port), SOL_SOCKET, SO_KEEPALIVE) == 0);
            CHECK(option_of(latest_socket(port), IPPROTO_TCP, TCP_NODELAY) == 1);
            CHECK((fcntl(latest_socket(port), F_GETFD) & FD_CLOEXEC) != 0);
        }
    });
}

TEST_CASE("an option that the kernel refuses is the error of bind and connect; those of TCP mean nothing to unix" *
          not_simulated()) {
    const int before = descriptors();
    in_runtime([]() -> Task<> {
        ListenOptions options;
        options.socket.keepalive_idle = 1'000'000s;  // at most 32767
        auto refused = co_await Listener::bind("127.0.0.1:0", options);
        CHECK(refused.error() == std::errc::invalid_argument);
        auto unconnected = co_await Link::connect("127.0.0.1:1", options.socket);
        CHECK(unconnected.error() == std::errc::invalid_argument);
        auto listener = co_await Listener::bind("unix:@chainring-options-" + std::to_string(getpid()), options);
        REQUIRE(listener);
        auto link = co_await Link::connect(listener->address(), options.socket);
        CHECK(link);
    });
    CHECK(descriptors() == before);
}

TEST_CASE("tcp_info counts what has gone each way" * not_simulated()) {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string text(100'000, 't');
        Scope scope;
        scope.spawn([](Link* link, const std::string* what) -> Task<> { (co_await link->send(*what)).value(); },
                    &pair.near, &text);
        std::vector<std::byte> back(text.size());
        (co_await pair.far.recv_exact(back)).value();
        co_await scope.join();
        const TcpInfo far = pair.far.tcp_info().value();
        CHECK(far.bytes_received == text.size());
        CHECK(far.bytes_sent == 0);
        const TcpInfo near = pair.near.tcp_info().value();
        CHECK(near.bytes_received == 0);
        CHECK(near.bytes_sent <= text.size() + 1);
        CHECK(near.round_trip > 0ns);
        CHECK(near.round_trip < 10s);
        co_await pair.near.close();
        CHECK(pair.near.tcp_info().error() == Errc::closed);
        auto listener = (co_await Listener::bind("unix:@chainring-info-" + std::to_string(getpid()))).value();
        auto link = (co_await Link::connect(listener.address())).value();
        CHECK(link.tcp_info().error() == std::errc::operation_not_supported);
    });
}

TEST_CASE("sending to a peer that is gone raises no SIGPIPE" * not_simulated()) {
    static std::atomic<int> raised;
    raised = 0;
    const auto before = std::signal(SIGPIPE, [](int) { ++raised; });
    in_runtime([]() -> Task<> {
        for (const bool many : {false, true}) {
            std::array<int, 2> ends{};
            REQUIRE(socketpair(AF_UNIX, SOCK_STREAM, 0, ends.data()) == 0);
            auto near = Link::adopt(ends[0]).value();
            close(ends[1]);
            const std::array<IoSlice, 2> pieces{IoSlice("one"), IoSlice("two")};
            std::error_code error;
            if (many)
                error = (co_await near.send(std::span<const IoSlice>(pieces))).error();
            else
                error = (co_await near.send("one")).error();
            CHECK(error == std::errc::broken_pipe);
        }
    });
    CHECK(raised == 0);
    std::signal(SIGPIPE, before);
}
