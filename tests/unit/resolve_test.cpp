// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/names.hpp"
#include "tests/unit/support.hpp"

#include <cerrno>
#include <cstdint>
#include <netdb.h>
#include <sstream>
#include <string>
#include <vector>

using namespace support;

namespace {

std::string text_of(const std::vector<Address>& addresses) {
    std::string text;
    for (const Address& address : addresses) text += (text.empty() ? "" : " ") + address.to_string();
    return text;
}

// Until as many questions wait for their answer.
Task<> until_waiting(const NameServer* names, unsigned count) {
    while (names->waiting() < count) co_await yield();
}

Task<> ask(std::string name, std::error_code* error) {
    const auto found = co_await resolve(name, 80);
    *error = found.error();
}

}  // namespace

TEST_CASE("a numeric host is its own address, also in a drained or timed out task; localhost is in /etc/hosts") {
    in_runtime([]() -> Task<> {
        const auto v4 = co_await resolve("127.0.0.1", 80);
        CHECK(text_of(*v4) == "127.0.0.1:80");
        const auto v6 = co_await resolve("::1", 443).within(0s);
        CHECK(text_of(*v6) == "[::1]:443");
        const auto zone = co_await resolve("fe80::1%lo", 1);
        CHECK(text_of(*zone) == "[fe80::1%lo]:1");
        const auto local = co_await resolve("localhost", 7);
        CHECK(text_of(*local).find("127.0.0.1:7") != std::string::npos);
    });
}

TEST_CASE("what is no name is an invalid address; nobody is asked") {
    NameServer names;
    in_runtime([]() -> Task<> {
        const std::string zero("a\0b", 3);
        for (const std::string& host : {std::string(), std::string("a b"), std::string("a:b"), std::string("[::1]"),
                                        std::string(256, 'x'), std::string("/etc"), zero}) {
            const auto found = co_await resolve(host, 80);
            CHECK(found.error() == Errc::invalid_address);
        }
    });
}

TEST_CASE("a name has its addresses in the resolver's order, with the port" * not_simulated()) {
    NameServer names;
    names.set("three.test", {"10.0.0.2", "fd00::1", "10.0.0.1"});
    in_runtime([]() -> Task<> {
        const auto found = co_await resolve("three.test", 8080);
        CHECK(text_of(*found) == "10.0.0.2:8080 [fd00::1]:8080 10.0.0.1:8080");
    });
    CHECK(names.asked() == 1);
}

TEST_CASE("the resolver's errors have a category of their own, whose messages say what is wrong" * not_simulated()) {
    NameServer names;
    names.set("none.test", {}, EAI_NONAME);
    names.set("bare.test", {}, EAI_NODATA);
    names.set("silent.test", {}, EAI_AGAIN);
    names.set("refusing.test", {}, EAI_FAIL);
    names.set("idn.test", {}, EAI_IDN_ENCODE);
    names.set("memory.test", {}, EAI_MEMORY);
    in_runtime([]() -> Task<> {
        struct Expected {
            const char* name;
            std::error_code error;
            const char* text;
        };
        for (const Expected& expected :
             {Expected{"none.test", ResolveErrc::not_found, "does not exist"},
              Expected{"bare.test", ResolveErrc::no_address, "no address"},
              Expected{"silent.test", ResolveErrc::temporary_failure, "no name server has answered"},
              Expected{"refusing.test", ResolveErrc::failed, "refuses"},
              Expected{"idn.test", Errc::invalid_address, "malformed"},
              Expected{"memory.test", std::make_error_code(std::errc::not_enough_memory), "memory"}}) {
            CAPTURE(expected.name);
            const auto found = co_await resolve(expected.name, 80);
            CHECK(found.error() == expected.error);
            CHECK(found.error().message().find(expected.text) != std::string::npos);
        }
    });
}

TEST_CASE("a limit or a cancel ends a resolve at once though the name server is silent; a report names the name" *
          not_simulated()) {
    NameServer names;
    names.set("slow.test", {"10.0.0.1"});
    names.close();
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](NameServer* server, ManualClock* time) -> Task<> {
            std::error_code error;
            Scope scope;
            scope.spawn(ask, "slow.test", &error);
            co_await until_waiting(server, 1);
            std::ostringstream report;
            Runtime::current().dump_tasks(report);
            CHECK(report.str().find("resolve, slow.test") != std::string::npos);
            scope.cancel();
            co_await scope.join();
            CHECK(error == Errc::cancelled);
            time->advance(1s);
            const auto limited = co_await resolve("slow.test", 80).within(0s);
            CHECK(limited.error() == Errc::timed_out);
            const Deadline deadline(-1s);
            const auto late = co_await resolve("slow.test", 80);
            CHECK(late.error() == Errc::timed_out);
        },
        &names, &clock);
}

TEST_CASE("a runtime ends while the name server is silent, and what it asked for is dropped" * not_simulated()) {
    NameServer names;
    names.set("slow.test", {"10.0.0.1"});
    names.close();
    in_runtime(
        [](NameServer* server) -> Task<> {
            static std::error_code error;
            Runtime::current().root().spawn(ask, "slow.test", &error);
            co_await until_waiting(server, 1);
            Runtime::current().request_stop();
            Runtime::current().request_stop();
        },
        &names);
    CHECK(names.waiting() == 1);
    names.open();
    in_runtime([]() -> Task<> {
        const auto found = co_await resolve("slow.test", 80);
        CHECK(text_of(*found) == "10.0.0.1:80");
    });
}

TEST_CASE("sixteen names are looked up at a time; others wait their turn, or are withdrawn" * not_simulated()) {
    NameServer names;
    names.set("slow.test", {"10.0.0.1"});
    names.close();
    in_runtime(
        [](NameServer* server) -> Task<> {
            std::vector<std::error_code> errors(40, Errc::closed);
            Scope answered;
            Scope withdrawn;
            for (std::size_t at = 0; at < 16; ++at) answered.spawn(ask, "slow.test", &errors[at]);
            co_await until_waiting(server, 16);
            for (std::size_t at = 16; at < 40; ++at)
                (at % 2 == 0 ? answered : withdrawn).spawn(ask, "slow.test", &errors[at]);
            co_await passes(20);
            CHECK(server->waiting() == 16);
            withdrawn.cancel();
            co_await withdrawn.join();
            server->open();
            co_await answered.join();
            CHECK(server->asked() == 28);
            for (std::size_t at = 0; at < 40; ++at) {
                const bool was_withdrawn = at >= 16 && at % 2 == 1;
                CHECK(errors[at] == (was_withdrawn ? make_error_code(Errc::cancelled) : std::error_code()));
            }
        },
        &names);
}

TEST_CASE("answers that race with cancels and limits are whole, or not there" * not_simulated()) {
    NameServer names;
    names.set("fast.test", {"10.0.0.1", "10.0.0.2"});
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        std::atomic<unsigned> found{0};
        for (unsigned round = 0; round < 500; ++round) {
            Scope scope;
            for (unsigned task = 0; task < 4; ++task)
                scope.spawn_on(
                    task % 2,
                    [](std::atomic<unsigned>* count, unsigned pause) -> Task<> {
                        const auto answer = co_await resolve("fast.test", 1).within(std::chrono::microseconds(pause));
                        if (!answer) {
                            CHECK((answer.error() == Errc::cancelled || answer.error() == Errc::timed_out));
                            co_return;
                        }
                        CHECK(answer->size() == 2);
                        ++*count;
                    },
                    &found, task < 2 ? 1'000'000 : 20 * (round % 16));
            for (unsigned pause = round % 13 * 8; pause > 0; --pause) co_await yield();
            scope.cancel();
            co_await scope.join();
        }
        MESSAGE("answers that came in time: " << found.load() << " of 2000");
    });
}
