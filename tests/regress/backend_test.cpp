// SPDX-License-Identifier: BSL-1.0
// Faults of the backends on what a simulated network has not: urgent data, passed and inherited descriptors.
#include "runtime/src/backend.hpp"

#include "tests/unit/support.hpp"

#include <algorithm>
#include <cstring>
#include <random>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace support;

namespace {

int plain_client(const Address& to) {
    const int fd = socket(to.family(), SOCK_STREAM, 0);
    REQUIRE(connect(fd, static_cast<const sockaddr*>(to.data()), static_cast<socklen_t>(to.size())) == 0);
    return fd;
}

}  // namespace

TEST_CASE("a read that ends at the urgent mark is not the last one" * not_simulated()) {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        const int client = plain_client(listener.address());
        auto link = (co_await listener.accept()).value();
        auto nothing = co_await link.recv().within(5ms);
        CHECK(!nothing);
        CHECK(send(client, "abc", 3, 0) == 3);
        CHECK(send(client, "X", 1, MSG_OOB) == 1);
        CHECK(send(client, "def\n", 4, 0) == 4);
        auto line = co_await link.recv_until("\n", 100).within(5s);
        REQUIRE(line);
        CHECK(*line == "abcdef");
        close(client);
    });
}

TEST_CASE("a read that ends where descriptors are passed is not the last one" * not_simulated()) {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("unix:@chainring-rights-" + std::to_string(getpid()))).value();
        const int client = plain_client(listener.address());
        auto link = (co_await listener.accept()).value();
        auto nothing = co_await link.recv().within(5ms);
        CHECK(!nothing);
        CHECK(send(client, "abc", 3, 0) == 3);
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
        iovec piece{const_cast<char*>("def\n"), 4};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        std::memcpy(CMSG_DATA(header), &client, sizeof client);
        CHECK(sendmsg(client, &message, 0) == 4);
        auto line = co_await link.recv_until("\n", 100).within(5s);
        REQUIRE(line);
        CHECK(*line == "abcdef");
        close(client);
    });
}

TEST_CASE("a descriptor that a forked child still holds sends no events to a Link that is gone" * not_simulated()) {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        const int client = plain_client(listener.address());
        pid_t child = 0;
        {
            auto link = (co_await listener.accept()).value();
            auto nothing = co_await link.recv().within(5ms);
            CHECK(!nothing);
            std::array<int, 2> hold{};
            REQUIRE(pipe(hold.data()) == 0);
            child = fork();
            if (child == 0) {
                close(hold[1]);
                char byte = 0;
                [[maybe_unused]] const ssize_t ended = read(hold[0], &byte, 1);  // until the parent lets go
                _exit(0);
            }
            close(hold[0]);
            co_await link.close();
            const std::uint64_t before = metrics().passes;
            for (int round = 0; round < 20; ++round) {
                (void)send(client, "hello", 5, MSG_NOSIGNAL);
                co_await sleep_for(100us);
            }
            CHECK(metrics().passes - before < 200);
            close(hold[1]);
        }
        int status = 0;
        waitpid(child, &status, 0);
        close(client);
    });
}

// io_uring: an alarm is left in the ring. It is set for the late deadline, moved forward, goes off while it is moved,
// and is too early for a deadline that has gone.
TEST_CASE("a wait ends at its deadline, whichever deadlines were waited for before" * not_simulated()) {
    const detail::BackendOptions options{4, 1024, 32, nullptr};
    const auto backend =
        wanted_backend() == "epoll" ? detail::make_epoll_backend(options) : detail::make_uring_backend(options);
    backend->attach();
    std::mt19937_64 choose(1);
    Duration latest{0};
    int waits = 0;
    for (int round = 0; round < 300; ++round) {
        const Instant start = backend->now();
        const Instant early = start + std::chrono::microseconds(choose() % 300);
        const Instant middle = early + std::chrono::nanoseconds(choose() % 20'000);
        const Instant late = start + 30s;
        // Each that is asked for twice in a row may set the alarm. A wake ends the first waits at once.
        for (const Instant deadline : {late, late, middle, middle, early, early}) {
            if (choose() % 4 == 0) continue;
            backend->wake();
            backend->wait(deadline);
        }
        for (const Instant deadline : {early, middle}) {
            while (backend->now() < deadline) backend->wait(deadline), ++waits;
            latest = std::max(latest, backend->now() - deadline);
        }
    }
    CHECK(latest < 10s);
    CHECK(waits < 100'000);
    MESSAGE("waits: " << waits << ", the latest " << latest / 1us << " us late");
    backend->detach();
}
