// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/names.hpp"
#include "tests/unit/peers.hpp"

#include <cerrno>
#include <fstream>
#include <netdb.h>
#include <netinet/in.h>
#include <optional>
#include <string>
#include <vector>

using namespace support;

namespace {

std::error_code kernel(int error) {
    return {error, std::system_category()};
}

// How a task's dial ended.
struct Dialled {
    std::optional<std::error_code> error;  // once it has ended
    Address peer;
};

Task<> dial_to(std::string target, DialOptions options, Dialled* dialled) {
    auto link = co_await dial(target, options);
    if (link) dialled->peer = link->peer().value();
    dialled->error = link.error();
}

Task<> dial_all(std::vector<Address> addresses, DialOptions options, Dialled* dialled) {
    auto link = co_await dial(addresses, options);
    if (link) dialled->peer = link->peer().value();
    dialled->error = link.error();
}

// Not written in place: GCC 12 refuses initializer lists of addresses in some coroutines.
std::vector<Address> list(const Address& first, const Address& second) {
    return {first, second};
}

// Those of the real system: a simulated world has its own, and its runtime tells at its end what was left.
Task<> until_descriptors(int count) {
    if (wanted_backend() == "sim") co_return;
    for (int round = 0; round < 10000 && descriptors() != count; ++round) co_await yield();
    CHECK(descriptors() == count);
}

// One port at each of the hosts.
struct SamePort {
    std::vector<std::unique_ptr<StuckListener>> stuck;
    std::optional<Listener> listener;
};

Task<SamePort> same_port(const char* first_stuck, const char* second_stuck, std::string listening_host) {
    for (;;) {
        SamePort at;
        at.listener = (co_await Listener::bind(listening_host + ":0")).value();
        const std::uint16_t port = at.listener->address().port();
        at.stuck.push_back(std::make_unique<StuckListener>(first_stuck, port));
        at.stuck.push_back(std::make_unique<StuckListener>(second_stuck, port));
        if (!at.stuck[0]->is_bound() || !at.stuck[1]->is_bound()) continue;
        co_await at.stuck[0]->fill();
        co_await at.stuck[1]->fill();
        co_return std::move(at);
    }
}

}  // namespace

TEST_CASE("dial takes addresses and names; what is neither is an invalid address" * not_simulated()) {
    NameServer names;
    names.set("server.test", {"127.0.0.1"});
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        const std::string port = std::to_string(listener.address().port());
        for (const std::string& host :
             {std::string("127.0.0.1:"), std::string("localhost:"), std::string("server.test:")}) {
            auto link = co_await dial(host + port).within(5s);
            CHECK(link.value().peer().value() == listener.address());
            auto accepted = co_await listener.accept();
            CHECK(accepted.has_value());
        }
        auto to_address = co_await dial(listener.address());
        CHECK(to_address.has_value());
        for (const char* text : {"", "server.test", "server.test:", "server.test:http", "server.test:65536", ":::1",
                                 "::1:80", "[::1:80", "a b:80", "unix:"}) {
            CAPTURE(text);
            const auto link = co_await dial(text, DialOptions{.retry = RetryPolicy{}});
            CHECK(link.error() == Errc::invalid_address);
        }
        const auto none = co_await dial(std::span<const Address>());
        CHECK(none.error() == Errc::invalid_address);
    });
}

TEST_CASE("dial reaches unix listeners") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("unix:@chainring-dial-" + std::to_string(::getpid()))).value();
        auto link = co_await dial(listener.address().to_string());
        CHECK(link.has_value());
    });
}

TEST_CASE("an address that refuses makes room for the next one at once; when all do, the first one's error is told") {
    Timed timed;
    in_runtime_with(timed.options, []() -> Task<> {
        const DeadPort dead;
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Address unreachable = Address::parse("[fe80::1]:1").value();  // EINVAL: of which interface?
        Dialled dialled;
        co_await dial_all(list(dead.address(), listener.address()), {}, &dialled);
        CHECK(dialled.peer == listener.address());
        co_await dial_all(list(unreachable, listener.address()), {}, &dialled);
        CHECK(dialled.peer == listener.address());
        co_await dial_all(list(dead.address(), unreachable), {}, &dialled);
        CHECK(dialled.error == kernel(ECONNREFUSED));
        co_await dial_all(list(unreachable, dead.address()), {}, &dialled);
        const int why = wanted_backend() == "sim" ? ENETUNREACH : EINVAL;  // which has no link-local addresses
        CHECK(dialled.error == kernel(why));
    });
}

TEST_CASE(
    "an address that is silent has its head start, then the next one is tried; the loser is cancelled and closed") {
    Timed timed;
    in_runtime_with(
        timed.options,
        [](ManualClock* clock) -> Task<> {
            StuckListener stuck;
            co_await stuck.fill();
            auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
            const int before = descriptors();
            Dialled dialled;
            Scope scope;
            scope.spawn(dial_all, list(stuck.address(), listener.address()), DialOptions{}, &dialled);
            co_await until_waiting_in("event");
            clock->advance(249ms);
            co_await passes(5);
            CHECK(!dialled.error);
            if (wanted_backend() != "sim") CHECK(descriptors() == before + 1);
            clock->advance(1ms);
            co_await scope.join();
            CHECK(dialled.peer == listener.address());
            co_await until_descriptors(before + 0);
        },
        &timed.clock);
}

TEST_CASE("the families of a name take turns" * not_simulated()) {
    NameServer names;
    names.set("both.test", {"127.0.0.1", "127.0.0.2", "::1"});
    Timed timed;
    in_runtime_with(
        timed.options,
        [](ManualClock* clock) -> Task<> {
            auto at = co_await same_port("127.0.0.1", "127.0.0.2", "[::1]");
            Dialled dialled;
            Scope scope;
            scope.spawn(dial_to, "both.test:" + std::to_string(at.listener->address().port()), DialOptions{}, &dialled);
            co_await until_waiting_in("event");
            clock->advance(250ms);
            co_await scope.join();
            CHECK(dialled.peer == at.listener->address());
        },
        &timed.clock);
}

TEST_CASE("two addresses that connect at the same time make one Link; the other connection is closed") {
    for (const unsigned workers : {1U, 2U}) {
        RuntimeOptions options = one_worker();
        options.workers = workers;
        in_runtime_with(options, []() -> Task<> {
            auto first = (co_await Listener::bind("127.0.0.1:0")).value();
            auto second = (co_await Listener::bind("127.0.0.1:0")).value();
            const std::vector<Address> both = list(first.address(), second.address());
            const int before = descriptors();
            for (int round = 0; round < 300; ++round) {
                auto link = co_await dial(both, DialOptions{.head_start = 0s});
                REQUIRE(link.has_value());
                const bool was_first = link->peer().value() == first.address();
                (co_await link->send("x")).value();
                auto accepted = co_await (was_first ? first : second).accept();
                std::byte byte{};
                const auto got = co_await accepted.value().recv(std::span(&byte, 1));
                CHECK(got.has_value());
                // Whatever the other one has made is over.
                for (auto late = co_await (was_first ? second : first).accept().within(0s); late;) {
                    const auto end = co_await late->recv();
                    CHECK(!end);
                    late = co_await (was_first ? second : first).accept().within(0s);
                }
            }
            co_await until_descriptors(before);
        });
    }
}

TEST_CASE("a limit, a deadline or a cancel ends the whole of it, and leaves nothing") {
    Timed timed;
    in_runtime_with(
        timed.options,
        [](ManualClock* clock) -> Task<> {
            StuckListener first;
            StuckListener second;
            co_await first.fill();
            co_await second.fill();
            const std::vector<Address> both = list(first.address(), second.address());
            const int before = descriptors();
            for (const bool cancels : {false, true}) {
                for (const Duration passed : {100ms, 300ms}) {  // before and after the second one's turn
                    std::error_code error;
                    Scope scope;
                    scope.spawn(
                        [](const std::vector<Address>* addresses, std::error_code* ended) -> Task<> {
                            const auto link = co_await dial(*addresses).within(400ms);
                            *ended = link.error();
                        },
                        &both, &error);
                    co_await until_waiting_in("event");
                    clock->advance(passed);
                    if (passed > 250ms) co_await until_waiting_in("connect", 2);
                    CHECK(!error);
                    if (cancels)
                        scope.cancel();
                    else
                        clock->advance(400ms - passed);
                    co_await scope.join();
                    CHECK(error == (cancels ? Errc::cancelled : Errc::timed_out));
                    co_await until_descriptors(before);
                }
            }
            const Deadline deadline(-1s);
            const auto late = co_await dial(both);
            CHECK(late.error() == Errc::timed_out);
            const auto single = co_await dial(first.address());
            CHECK(single.error() == Errc::timed_out);
        },
        &timed.clock);
}

TEST_CASE("a silent name server does not hold a dial" * not_simulated()) {
    NameServer names;
    names.set("slow.test", {"127.0.0.1"});
    names.close();
    in_runtime(
        [](NameServer* server) -> Task<> {
            const auto limited = co_await dial("slow.test:80").within(1ms);
            CHECK(limited.error() == Errc::timed_out);
            Dialled dialled;
            Scope scope;
            scope.spawn(dial_to, "slow.test:80", DialOptions{}, &dialled);
            while (server->waiting() == 0) co_await yield();
            scope.cancel();
            co_await scope.join();
            CHECK(dialled.error == Errc::cancelled);
        },
        &names);
}

TEST_CASE("what is refused is tried again after 0.5, 1, 2 ... seconds, the name resolved anew, until somebody listens" *
          not_simulated()) {
    NameServer names;
    names.set("server.test", {"127.0.0.1"});
    Timed timed;
    in_runtime_with(
        timed.options,
        [](NameServer* server, ManualClock* clock) -> Task<> {
            DeadPort port;
            Dialled dialled;
            Scope scope;
            scope.spawn(dial_to, "server.test:" + std::to_string(port.address().port()),
                        DialOptions{.retry = RetryPolicy{.jitter = 0}}, &dialled);
            unsigned attempts = 1;
            for (const Duration pause : {500ms, 1000ms, 2000ms, 4000ms, 8000ms, 16000ms, 30000ms, 30000ms}) {
                co_await until_waiting_in("sleep");
                CHECK(server->asked() == attempts);
                clock->advance(pause - 1ns);
                co_await passes(5);
                CHECK(server->asked() == attempts);
                clock->advance(1ns);
                while (server->asked() == attempts) co_await yield();
                ++attempts;
            }
            co_await until_waiting_in("sleep");
            port.listen();
            clock->advance(30s);
            co_await scope.join();
            CHECK(dialled.peer == port.address());
        },
        &names, &timed.clock);
}

TEST_CASE("permanent errors and the last attempt end a dial that retries" * not_simulated()) {
    NameServer names;
    names.set("none.test", {}, EAI_NONAME);
    names.set("silent.test", {}, EAI_AGAIN);
    in_runtime([]() -> Task<> {
        const DialOptions forever{.retry = RetryPolicy{}};
        const auto no_name = co_await dial("none.test:80", forever);
        CHECK(no_name.error() == ResolveErrc::not_found);
        const auto no_interface = co_await dial("[fe80::1]:80", forever);
        CHECK(no_interface.error() == kernel(EINVAL));
        const sockaddr strange{.sa_family = AF_APPLETALK, .sa_data = {}};
        const auto no_family = co_await dial(Address::from_sockaddr(&strange, sizeof strange), forever);
        CHECK(is_permanent(no_family.error()));
        const DialOptions thrice{.retry = RetryPolicy{.first = 1ns, .attempts = 3}};
        const auto silent = co_await dial("silent.test:80", thrice);
        CHECK(silent.error() == ResolveErrc::temporary_failure);
    });
    CHECK(names.asked() == 4);
}

TEST_CASE("a pause between attempts ends by limit, cancel, deadline, and as soon as the runtime drains") {
    Timed timed;
    in_runtime_with(
        timed.options,
        [](ManualClock* clock) -> Task<> {
            const DeadPort port;
            const std::string target = port.address().to_string();
            const DialOptions options{.retry = RetryPolicy{.jitter = 0}};
            Dialled dialled;
            {
                Scope scope;
                scope.spawn(dial_to, target, options, &dialled);
                co_await until_waiting_in("sleep");
                scope.cancel();
                co_await scope.join();
                CHECK(dialled.error == Errc::cancelled);
            }
            {
                const Deadline deadline(100ms);
                Scope scope;
                scope.spawn(dial_to, target, options, &dialled);
                co_await until_waiting_in("sleep");
                clock->advance(100ms);
                co_await scope.join();
                CHECK(dialled.error == Errc::timed_out);
            }
            Scope scope;
            scope.spawn(dial_to, target, options, &dialled);
            co_await until_waiting_in("sleep");
            Runtime::current().request_stop();
            co_await scope.join();
            CHECK(dialled.error == Errc::shutting_down);
            co_await dial_to(target, options, &dialled);
            CHECK(dialled.error == Errc::shutting_down);
        },
        &timed.clock);
}

TEST_CASE("a free port of the local range is never connected to itself" * not_simulated()) {
    // What would be, with plain sockets: the kernel takes each port of the range for the local end sooner or later.
    std::ifstream file("/proc/sys/net/ipv4/ip_local_port_range");
    unsigned low = 0;
    unsigned high = 0;
    file >> low >> high;
    if (high <= low) return;
    // connect(2) takes every other port, beginning with the first one, as long as one of them is free.
    std::uint16_t port = 0;
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(0x7f510703);  // 127.81.7.3: others' ended connections keep the ports of 127.0.0.1
    for (unsigned candidate = low + 2; port == 0 && candidate < high; candidate += 2) {
        to.sin_port = htons(static_cast<std::uint16_t>(candidate));
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::bind(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0)
            port = static_cast<std::uint16_t>(candidate);
        ::close(fd);
    }
    REQUIRE(port != 0);
    const unsigned most = 2 * (high - low);
    unsigned tries = 0;
    const auto end = std::chrono::steady_clock::now() + 5s;
    for (bool met = false; !met && tries < most && std::chrono::steady_clock::now() < end; ++tries) {
        const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        met = ::connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) == 0;
        const linger reset{1, 0};
        ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        ::close(fd);
    }
    MESSAGE("port " << port << " met itself after " << tries << " of " << most << " plain connects");
    in_runtime(
        [](Address address) -> Task<> {
            const auto stop = now() + 5s;
            unsigned refused = 0;
            for (unsigned round = 0; round < 40000 && now() < stop; ++round) {
                const auto link = co_await Link::connect(address);
                if (link.error() != kernel(ECONNREFUSED)) CHECK(link.error() == kernel(ECONNREFUSED));
                ++refused;
            }
            MESSAGE(refused << " connects were refused");
        },
        Address::from_sockaddr(&to, sizeof to));
}
