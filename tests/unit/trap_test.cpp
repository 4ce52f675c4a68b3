// SPDX-License-Identifier: BSL-1.0
// Broken contracts trap, and the message names the rule. Each runs in a child process.
#include "tests/unit/support.hpp"

#include <array>
#include <memory>
#include <stdexcept>
#include <sys/wait.h>
#include <unistd.h>

using namespace support;

namespace {

// What the child wrote to stderr, when it was ended by SIGABRT; else a note on how it ended.
template <class Fn>
std::string trapped(Fn fn) {
    std::array<int, 2> ends{};
    REQUIRE(pipe(ends.data()) == 0);
    const pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 2);
        close(ends[0]);
        struct sigaction plain {};
        plain.sa_handler = SIG_DFL;
        sigaction(SIGABRT, &plain, nullptr);
        fn();
        _exit(0);
    }
    close(ends[1]);
    std::string text;
    std::array<char, 512> buffer{};
    for (ssize_t size = 0; (size = read(ends[0], buffer.data(), buffer.size())) > 0;)
        text.append(buffer.data(), static_cast<std::size_t>(size));
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGABRT) return "did not trap: " + text;
    return text;
}

bool names(const std::string& text, std::string_view rule) {
    INFO(text);
    return text.find("chainring: trap: ") != std::string::npos && text.find(rule) != std::string::npos;
}

Task<> idle() {
    co_await sleep_for(1h);
}
template <class Fn>
std::string trapped_task(Fn fn) {
    return trapped([fn] {
        Runtime runtime(one_worker());
        runtime.run(fn);
    });
}

}  // namespace

TEST_CASE("a scope that is left without join traps and says where it was made") {
    const std::string text = trapped_task([]() -> Task<> {
        Scope scope;
        scope.spawn(idle);
        co_return;
    });
    CHECK(names(text, "left without join"));
    CHECK(names(text, "trap_test.cpp"));
}

TEST_CASE("joining twice, or spawning after the join, traps") {
    CHECK(names(trapped_task([]() -> Task<> {
                    Scope scope;
                    co_await scope.join();
                    co_await scope.join();
                }),
                "joined once"));
    CHECK(names(trapped_task([]() -> Task<> {
                    Scope scope;
                    co_await scope.join();
                    scope.spawn(idle);
                }),
                "takes no more children"));
}

TEST_CASE("two receives on one Link trap") {
    CHECK(names(trapped_task([]() -> Task<> {
                    auto pair = co_await connected();
                    Scope scope;
                    for (int reader = 0; reader < 2; ++reader)
                        scope.spawn([](Link* link) -> Task<> { (void)co_await link->recv(); }, &pair.near);
                    co_await scope.join();
                }),
                "one reader"));
}

TEST_CASE("a worker that does not exist traps, as does a Task awaited twice or empty") {
    CHECK(names(trapped_task([]() -> Task<> {
                    Scope scope;
                    scope.spawn_on(7, idle);
                    co_await scope.join();
                }),
                "no worker of that index"));
    CHECK(names(trapped_task([]() -> Task<> {
                    Scope scope;
                    scope.spawn_on(~0U, idle);
                    co_await scope.join();
                }),
                "no worker of that index"));
    CHECK(names(trapped_task([]() -> Task<> {
                    Task<> empty;
                    co_await std::move(empty);
                }),
                "empty Task"));
}

TEST_CASE("an empty Link and a Result without a value trap") {
    CHECK(names(trapped_task([]() -> Task<> {
                    Link link;
                    (void)co_await link.recv();
                }),
                "empty Link"));
    CHECK(names(trapped([] { (void)*Result<int>(Errc::eof); }), "without a value"));
}

TEST_CASE("going to a worker that does not exist traps") {
    CHECK(names(trapped_task([]() -> Task<> { co_await resume_on(7); }), "no worker of that index"));
}

TEST_CASE("a Runtime runs once, and there is none outside of it") {
    CHECK(names(trapped([] {
                    Runtime runtime(one_worker());
                    runtime.run([]() -> Task<> { co_return; });
                    runtime.run([]() -> Task<> { co_return; });
                }),
                "runs once"));
    CHECK(names(trapped([] { Runtime::current(); }), "worker of a Runtime"));
}

TEST_CASE("a task that has started is not destroyed before its end") {
    CHECK(names(trapped_task([]() -> Task<> {
                    auto task = std::make_unique<Task<>>(idle());
                    Scope scope;
                    scope.spawn([](Task<>* begun) -> Task<> { co_await std::move(*begun); }, task.get());
                    co_await passes(2);
                    task.reset();
                    co_await scope.join();
                }),
                "not destroyed before its end"));
}

TEST_CASE(
    "a result asked for twice, a limit of nothing, an interval without a period, a source that is waited on trap") {
    CHECK(names(trapped_task([]() -> Task<> {
                    Scope scope;
                    auto handle = scope.start([]() -> Task<int> { co_return 1; });
                    (void)co_await handle.result();
                    (void)co_await handle.result();
                    co_await scope.join();
                }),
                "taken once"));
    CHECK(names(trapped_task([]() -> Task<> {
                    Scope scope;
                    scope.limit(0);
                    co_return;
                }),
                "at least one"));
    CHECK(names(trapped_task([]() -> Task<> {
                    const Interval interval(0s);
                    co_return;
                }),
                "positive period"));
    CHECK(names(trapped_task([]() -> Task<> {
                    auto source = std::make_unique<StopSource>();
                    Scope scope;
                    scope.spawn([](StopSource* stop) -> Task<> { (void)co_await sleep_for(1h).stop_on(stop->token()); },
                                source.get());
                    co_await passes(2);
                    source.reset();
                    co_await scope.join();
                }),
                "carries its token"));
    CHECK(names(trapped([] { const Deadline deadline(1s); }), "belongs to a task"));
}

TEST_CASE("without a handler an exception in the root scope is told with its await chain, then the program ends") {
    const std::string text = trapped_task([]() -> Task<> {
        Runtime::current().root().spawn([]() -> Task<> {
            name_this_task("the careless one");
            co_await yield();
            throw std::runtime_error("no one catches this");
        });
        co_await sleep_for(1h);
    });
    INFO(text);
    CHECK(text.find("the careless one, a task of the root scope, ended with an exception: no one catches this") !=
          std::string::npos);
#if CHAINRING_TASK_DUMP
    CHECK(text.find("trap_test.cpp:") != std::string::npos);
#endif
}
