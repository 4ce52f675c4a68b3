// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/names.hpp"
#include "tests/unit/peers.hpp"

#include <cerrno>
#include <netdb.h>
#include <optional>
#include <stdexcept>
#include <string>

using namespace support;

namespace {

// What a client's sessions have seen.
struct Log {
    unsigned sessions = 0;
    unsigned stop_after = 0;               // sessions; 0: never
    std::optional<std::error_code> ended;  // the run
    std::string received;
};

// Reads to the end.
Task<AfterSession> listen_to(Link link, Log* log) {
    ++log->sessions;
    for (;;) {
        auto chunk = co_await link.recv();
        if (!chunk) break;
        log->received += chunk->to_string();
    }
    co_return log->sessions == log->stop_after ? AfterSession::stop : AfterSession::reconnect;
}

Task<> run_client(std::string target, ReconnectOptions options, Log* log) {
    ReconnectingLink client(target, options);
    const auto ended = co_await client.run(listen_to, log);
    log->ended = ended.error();
}

constexpr ReconnectOptions exact{.retry = RetryPolicy{.jitter = 0}};

}  // namespace

TEST_CASE("a reconnecting client has a session for each connection, until one says stop") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Log log;
        log.stop_after = 3;
        Scope scope;
        scope.spawn(run_client, listener.address().to_string(),
                    ReconnectOptions{.retry = RetryPolicy{.first = 1ms, .factor = 1}}, &log);
        for (const char* text : {"a", "b", "c"}) {
            auto link = (co_await listener.accept()).value();
            (co_await link.send(text)).value();
            co_await link.close();
        }
        co_await scope.join();
        CHECK(log.received == "abc");
        CHECK(log.sessions == 3);
        CHECK(log.ended == std::error_code());
    });
}

TEST_CASE("pauses grow over refusals and short sessions, and begin anew after a session that lasted") {
    Timed timed;
    in_runtime_with(
        timed.options,
        [](ManualClock* clock) -> Task<> {
            auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
            Log log;
            Scope scope;
            scope.spawn(run_client, listener.address().to_string(), exact, &log);
            const auto session = [](Listener* from, ManualClock* time, Duration length) -> Task<> {
                auto link = (co_await from->accept()).value();
                (co_await link.send("x")).value();
                co_await until_waiting_in("recv");
                time->advance(length);
                co_await link.close();
                co_await until_waiting_in("sleep");
            };
            const auto pause = [](ManualClock* time, const Log* sessions, Duration length) -> Task<> {
                const unsigned before = sessions->sessions;
                time->advance(length - 1ns);
                co_await passes(5);
                CHECK(sessions->sessions == before);
                time->advance(1ns);
                while (sessions->sessions == before) co_await yield();
            };
            co_await session(&listener, clock, 0s);
            co_await pause(clock, &log, 500ms);
            co_await session(&listener, clock, 4s);
            co_await pause(clock, &log, 1s);
            co_await session(&listener, clock, 0s);
            co_await pause(clock, &log, 2s);
            co_await session(&listener, clock, 5s);
            co_await pause(clock, &log, 500ms);
            co_await session(&listener, clock, 0s);
            const Address address = listener.address();
            listener = Listener();
            clock->advance(1s);
            co_await passes(20);
            co_await until_waiting_in("sleep");  // refused
            listener = (co_await Listener::bind(address)).value();
            co_await pause(clock, &log, 2s);
            CHECK(log.sessions == 6);
            scope.cancel();
            co_await scope.join();
            CHECK(log.ended == Errc::cancelled);
        },
        &timed.clock);
}

TEST_CASE("a stop ends a reconnecting client in its session and in its pause") {
    for (const bool connected : {true, false}) {
        Timed timed;
        static Log log;
        log = Log();
        in_runtime_with(
            timed.options,
            [](bool in_session) -> Task<> {
                auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
                const DeadPort dead;
                Scope scope;
                scope.spawn(run_client, (in_session ? listener.address() : dead.address()).to_string(), exact, &log);
                Link link;
                if (in_session) link = (co_await listener.accept()).value();
                co_await until_waiting_in(in_session ? "recv" : "sleep");
                Runtime::current().request_stop();
                co_await scope.join();
            },
            connected);
        CHECK(log.ended == Errc::shutting_down);
    }
}

TEST_CASE("a permanent error ends a client that never was connected; one that was tries again" * not_simulated()) {
    NameServer names;
    names.set("server.test", {}, EAI_NONAME);
    Timed timed;
    in_runtime_with(
        timed.options,
        [](NameServer* server, ManualClock* clock) -> Task<> {
            auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
            const std::string target = "server.test:" + std::to_string(listener.address().port());
            Log log;
            co_await run_client(target, exact, &log);
            CHECK(log.ended == ResolveErrc::not_found);
            server->set("server.test", {"127.0.0.1"});
            Scope scope;
            scope.spawn(run_client, target, exact, &log);
            auto link = (co_await listener.accept()).value();
            server->set("server.test", {}, EAI_NONAME);
            co_await link.close();
            co_await until_waiting_in("sleep");
            clock->advance(500ms);
            while (server->asked() < 3) co_await yield();
            co_await until_waiting_in("sleep");
            server->set("server.test", {"127.0.0.1"});
            clock->advance(1s);
            link = (co_await listener.accept()).value();
            CHECK(link);
            scope.cancel();
            co_await scope.join();
            CHECK(log.sessions == 2);
        },
        &names, &timed.clock);
}

TEST_CASE("an attempt ends by its own limit and is made again; a deadline of the caller ends it all") {
    Timed timed;
    in_runtime_with(
        timed.options,
        [](ManualClock* clock) -> Task<> {
            StuckListener stuck;
            co_await stuck.fill();
            ReconnectOptions options = exact;
            options.attempt_limit = 2s;
            Log log;
            const Deadline deadline(10s);
            Scope scope;
            scope.spawn(run_client, stuck.address().to_string(), options, &log);
            for (const Duration pause : {500ms, 1000ms, 2000ms}) {  // 2 s of each attempt, and they, are 9.5 s
                co_await until_waiting_in("connect");
                clock->advance(2s);
                co_await until_waiting_in("sleep");
                CHECK(!log.ended);
                clock->advance(pause);
            }
            co_await until_waiting_in("connect");
            clock->advance(500ms);
            co_await scope.join();
            CHECK(log.ended == Errc::timed_out);
        },
        &timed.clock);
}

TEST_CASE("attempts may be counted; an exception of a session ends the run; a Task<> is always followed by another") {
    in_runtime([]() -> Task<> {
        const DeadPort dead;
        const ReconnectOptions options{.retry = RetryPolicy{.first = 1ns, .attempts = 3}};
        ReconnectingLink client(dead.address(), options);
        Log log;
        const auto refused = co_await client.run(listen_to, &log);
        CHECK(refused.error() == std::error_code(ECONNREFUSED, std::system_category()));

        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        ReconnectingLink other(listener.address(), options);
        const auto short_ones = co_await other.run(
            [](Link, unsigned* sessions) -> Task<> {
                ++*sessions;
                co_return;
            },
            &log.sessions);
        CHECK(short_ones.error() == std::error_code(ECONNABORTED, std::system_category()));
        CHECK(log.sessions == 3);

        ReconnectingLink third(listener.address());
        std::string what;
        try {
            (void)co_await third.run([](Link) -> Task<> {
                throw std::runtime_error("of a session");
                co_return;
            });
        } catch (const std::runtime_error& error) {
            what = error.what();
        }
        CHECK(what == "of a session");
    });
}
