// SPDX-License-Identifier: BSL-1.0
// Listening, accepting, connecting and serving.
#include "tests/unit/support.hpp"

#include <array>
#include <atomic>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

using namespace support;

namespace {

Task<> echo(Link link) {
    while (auto chunk = co_await link.recv())
        if (!co_await link.send(std::move(*chunk))) break;
}

Task<> round_trip(Address address, std::atomic<int>* good) {
    auto link = (co_await Link::connect(address)).value();
    (co_await link.send("ping")).value();
    std::array<std::byte, 4> back{};
    if (co_await link.recv_exact(back)) ++*good;
    co_await link.close();
}

Task<> serve_echo(Listener* listener) {
    co_await listener->serve(echo);
}

}  // namespace

TEST_CASE("port 0 takes a free port, which the listener knows") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        CHECK(listener.address().port() != 0);
        auto link = (co_await Link::connect(listener.address())).value();
        CHECK(link.peer()->to_string() == listener.address().to_string());
        auto accepted = (co_await listener.accept()).value();
        CHECK(accepted.peer()->to_string() == link.local()->to_string());
    });
}

TEST_CASE("a port in use is found, with every spread") {
    in_runtime([]() -> Task<> {
        for (const Spread first : {Spread::round_robin, Spread::reuse_port}) {
            for (const Spread second :
                 {Spread::round_robin, Spread::least_loaded, Spread::by_peer, Spread::reuse_port}) {
                ListenOptions options;
                options.spread = first;
                auto listener = (co_await Listener::bind("127.0.0.1:0", options)).value();
                options.spread = second;
                auto clash = co_await Listener::bind(listener.address(), options);
                CHECK(clash.error() == std::errc::address_in_use);
            }
        }
    });
}

TEST_CASE("bad addresses are refused with a reason") {
    in_runtime([]() -> Task<> {
        CHECK((co_await Listener::bind("nonsense")).error() == Errc::invalid_address);
        CHECK((co_await Listener::bind("127.0.0.1:99999")).error() == Errc::invalid_address);
        CHECK((co_await Listener::bind("192.0.2.1:0")).error() == std::errc::address_not_available);
        if (wanted_backend() != "sim")  // its paths have no directories
            CHECK((co_await Listener::bind("unix:/no/such/directory/socket")).error() ==
                  std::errc::no_such_file_or_directory);
        ListenOptions shared;
        shared.spread = Spread::reuse_port;
        CHECK((co_await Listener::bind("unix:@chainring-shared", shared)).error() == Errc::not_supported);
        CHECK((co_await Link::connect("nonsense")).error() == Errc::invalid_address);
        CHECK((co_await Link::connect("127.0.0.1:1")).error() == std::errc::connection_refused);
        CHECK((co_await Link::connect("unix:/no/such/socket")).error() == std::errc::no_such_file_or_directory);
    });
}

TEST_CASE("IPv4, IPv6, unix path and abstract sockets carry the same bytes") {
    const std::string path = "unix:/tmp/chainring-test-" + std::to_string(getpid());
    for (const std::string& where :
         {std::string("127.0.0.1:0"), std::string("[::1]:0"), path, "unix:@chainring-" + std::to_string(getpid())}) {
        CAPTURE(where);
        in_runtime(
            [](const std::string* at) -> Task<> {
                auto listener = (co_await Listener::bind(*at)).value();
                std::atomic<int> good{0};
                Scope serving;
                serving.spawn(serve_echo, &listener);
                Scope scope;
                for (int client = 0; client < 10; ++client) scope.spawn(round_trip, listener.address(), &good);
                co_await scope.join();
                CHECK(good == 10);
                serving.cancel();
                co_await serving.join();
            },
            &where);
    }
    CHECK(access(path.c_str() + 5, F_OK) != 0);  // the path was removed
}

TEST_CASE("a unix socket that a dead process left behind is replaced, a live one is not") {
    const std::string path = "/tmp/chainring-stale-" + std::to_string(getpid());
    {
        const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        const auto address = *Address::parse("unix:" + path);
        REQUIRE(bind(fd, static_cast<const sockaddr*>(address.data()), static_cast<socklen_t>(address.size())) == 0);
        close(fd);
    }
    in_runtime(
        [](const std::string* where) -> Task<> {
            auto listener = (co_await Listener::bind("unix:" + *where)).value();
            auto clash = co_await Listener::bind("unix:" + *where);
            CHECK(clash.error() == std::errc::address_in_use);
        },
        &path);
    unlink(path.c_str());  // in a simulated world the listener's name was another
}

TEST_CASE("an accept times out, is cancelled, and loses no connection by it") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        auto nobody = co_await listener.accept().within(5ms);
        CHECK(nobody.error() == Errc::timed_out);
        std::error_code error;
        Scope scope;
        scope.spawn([](Listener* from, std::error_code* why) -> Task<> { *why = (co_await from->accept()).error(); },
                    &listener, &error);
        co_await yield();
        scope.cancel();
        co_await scope.join();
        CHECK(error == Errc::cancelled);
        int accepted = 0;
        std::vector<Link> kept;
        for (int round = 0; round < 300; ++round) {
            kept.push_back((co_await Link::connect(listener.address())).value());
            auto link = co_await listener.accept().within(std::chrono::microseconds(round % 50));
            if (link) ++accepted;
        }
        while (accepted < 300) {
            auto link = co_await listener.accept().within(5s);
            REQUIRE(link);
            ++accepted;
        }
        auto none = co_await listener.accept().within(5ms);
        CHECK(none.error() == Errc::timed_out);
    });
}

TEST_CASE("a connect to somebody who does not answer ends with its limit, or its task's cancel") {
    const int before = descriptors();
    in_runtime([]() -> Task<> {
        // A listener whose queue is full does not answer.
        ListenOptions tiny;
        tiny.backlog = 1;
        auto listener = (co_await Listener::bind("127.0.0.1:0", tiny)).value();
        std::vector<Link> filling;
        std::error_code last;
        for (int attempt = 0; attempt < 10 && !last; ++attempt) {
            auto link = co_await Link::connect(listener.address()).within(50ms);
            if (link)
                filling.push_back(std::move(*link));
            else
                last = link.error();
        }
        CHECK(last == Errc::timed_out);
        std::error_code error;
        Scope scope;
        scope.spawn([](Address to, std::error_code* why) -> Task<> { *why = (co_await Link::connect(to)).error(); },
                    listener.address(), &error);
        co_await sleep_for(2ms);
        scope.cancel();
        co_await scope.join();
        CHECK(error == Errc::cancelled);
    });
    CHECK(descriptors() == before);
}

TEST_CASE("running out of descriptors pauses accepting, spins not, and recovers" * not_simulated()) {
    rlimit saved{};
    getrlimit(RLIMIT_NOFILE, &saved);
    in_runtime(
        [](rlimit old) -> Task<> {
            auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
            std::vector<Link> clients;
            std::atomic<int> good{0};
            Scope serving;
            serving.spawn(serve_echo, &listener);
            rlimit few = old;
            few.rlim_cur = static_cast<rlim_t>(descriptors()) + 10;
            setrlimit(RLIMIT_NOFILE, &few);
            std::error_code error;
            while (!error) {
                auto link = co_await Link::connect(listener.address());
                if (link)
                    clients.push_back(std::move(*link));
                else
                    error = link.error();
                co_await sleep_for(1ms);
            }
            CHECK(error == std::errc::too_many_files_open);
            const std::uint64_t before = metrics().passes;
            co_await sleep_for(100ms);
            CHECK(metrics().passes - before < 50);
            setrlimit(RLIMIT_NOFILE, &old);
            (co_await clients.back().send("still there?")).value();
            auto answer = co_await clients.back().recv().within(5s);
            CHECK(answer);
            co_await round_trip(listener.address(), &good);
            CHECK(good == 1);
            clients.clear();
            serving.cancel();
            co_await serving.join();
        },
        saved);
}

TEST_CASE("a handler's exception ends serve, which rethrows it") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        auto client = (co_await Link::connect(listener.address())).value();
        bool caught = false;
        try {
            co_await listener.serve([](Link) -> Task<> {
                throw std::runtime_error("handler");
                co_return;
            });
        } catch (const std::runtime_error&) {
            caught = true;
        }
        CHECK(caught);
    });
}
