// SPDX-License-Identifier: BSL-1.0
// How many connections are served, how fast they are accepted, and several Listeners at once.
#include "tests/unit/support.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <unistd.h>
#include <vector>

using namespace support;

namespace {

struct Served {
    std::atomic<int> now{0};
    std::atomic<int> most{0};
    std::atomic<int> total{0};
};

// Says "in", and stays until the client ends.
Task<> stay(Link link, Served* served) {
    const int count = ++served->now;
    ++served->total;
    int most = served->most;
    while (most < count && !served->most.compare_exchange_weak(most, count)) {
    }
    (co_await link.send("in")).value();
    while (auto chunk = co_await link.recv()) chunk->consume(chunk->size());
    --served->now;
}

Task<> serve_stayers(Listener* listener, Served* served) {
    co_await listener->serve(stay, served);
}

Task<std::string> greeting(Link* link) {
    std::string text;
    while (text.size() < 2) {
        auto chunk = co_await link->recv().within(10s);
        if (!chunk) break;
        text += chunk->to_string();
    }
    co_return text;
}

Task<> until_served(const Served* served, int count) {
    while (served->now != count) co_await sleep_for(100us);
}

ListenOptions at_most(std::uint32_t connections) {
    ListenOptions options;
    options.max_connections = connections;
    options.busy = "busy\n";
    return options;
}

}  // namespace

TEST_CASE(
    "over the limit a connection is told that the server is busy, and ended; room is used as soon as it is there") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0", at_most(2))).value();
        Served served;
        Scope serving;
        serving.spawn(serve_stayers, &listener, &served);
        std::vector<Link> inside;
        for (int client = 0; client < 2; ++client) {
            inside.push_back((co_await Link::connect(listener.address())).value());
            CHECK(co_await greeting(&inside.back()) == "in");
        }
        auto third = (co_await Link::connect(listener.address())).value();
        (co_await third.send("a request that nobody reads")).value();
        std::string told;
        for (;;) {
            auto chunk = co_await third.recv();
            if (!chunk) {
                CHECK(chunk.error() == Errc::eof);
                break;
            }
            told += chunk->to_string();
        }
        CHECK(told == "busy\n");
        co_await third.close();
        co_await inside.front().close();
        while (listener.connections() > 1) co_await yield();
        auto next = (co_await Link::connect(listener.address())).value();
        CHECK(co_await greeting(&next) == "in");
        inside.clear();
        co_await next.close();
        serving.cancel();
        co_await serving.join();
        CHECK(served.total == 3);
        CHECK(served.most == 2);
    });
}

TEST_CASE("a refused client that goes on sending is discarded for three seconds, then closed") {
    ManualClock clock;
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(
        options,
        [](ManualClock* time) -> Task<> {
            ListenOptions silent = at_most(1);
            silent.busy = {};
            auto listener = (co_await Listener::bind("127.0.0.1:0", silent)).value();
            Served served;
            Scope serving;
            serving.spawn(serve_stayers, &listener, &served);
            auto inside = (co_await Link::connect(listener.address())).value();
            CHECK(co_await greeting(&inside) == "in");
            auto refused = (co_await Link::connect(listener.address())).value();
            auto end = co_await refused.recv();
            CHECK(end.error() == Errc::eof);
            const std::string block(1000, 'x');
            for (int second = 0; second < 2; ++second) {
                CHECK(co_await refused.send(block));
                co_await passes(5);
                time->advance(1s);
            }
            CHECK(co_await refused.send(block));
            co_await passes(5);
            CHECK(metrics().links == 4);
            time->advance(1001ms);
            while (metrics().links > 3) co_await yield();
            std::error_code error;
            for (int tries = 0; tries < 1000 && !error; ++tries) {
                error = (co_await refused.send(block)).error();
                co_await yield();
            }
            CHECK(error);
            refused = Link();
            inside = Link();
            serving.cancel();
            co_await serving.join();
        },
        &clock);
}

TEST_CASE("a limit holds for all workers together, with every spread, when twice as many come at once") {
    for (const Spread spread : {Spread::round_robin, Spread::least_loaded, Spread::by_peer, Spread::reuse_port}) {
        CAPTURE(static_cast<int>(spread));
        RuntimeOptions options = one_worker();
        options.workers = 3;
        in_runtime_with(
            options,
            [](Spread how) -> Task<> {
                ListenOptions listening = at_most(20);
                listening.spread = how;
                auto listener = (co_await Listener::bind("127.0.0.1:0", listening)).value();
                Served served;
                Scope serving;
                serving.spawn(serve_stayers, &listener, &served);
                for (int round = 0; round < 3; ++round) {
                    std::vector<Link> links;
                    for (int client = 0; client < 40; ++client)
                        links.push_back((co_await Link::connect(listener.address())).value());
                    int in = 0;
                    int busy = 0;
                    for (Link& link : links) {
                        const std::string text = co_await greeting(&link);
                        if (text == "in") ++in;
                        if (text.substr(0, 2) == "bu") ++busy;
                    }
                    CHECK(in == 20);
                    CHECK(busy == 20);
                    CHECK(served.now == 20);
                    links.clear();
                    while (listener.connections() > 0) co_await yield();
                }
                CHECK(served.most == 20);
                serving.cancel();
                co_await serving.join();
            },
            spread);
    }
}

TEST_CASE("when too many are being refused, more are closed at once") {
    ManualClock clock;  // stands still: nobody is refused for too long
    RuntimeOptions options = one_worker();
    options.clock = &clock;
    in_runtime_with(options, []() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0", at_most(1))).value();
        Served served;
        Scope serving;
        serving.spawn(serve_stayers, &listener, &served);
        auto inside = (co_await Link::connect(listener.address())).value();
        CHECK(co_await greeting(&inside) == "in");
        std::vector<Link> refused;
        int told = 0;
        int closed = 0;
        for (int client = 0; client < 300; ++client) {
            refused.push_back((co_await Link::connect(listener.address())).value());
            const std::string text = co_await greeting(&refused.back());
            ++(text.empty() ? closed : told);
        }
        CHECK(told == 256);
        CHECK(closed == 44);
        refused.clear();
        inside = Link();
        serving.cancel();
        co_await serving.join();
    });
}

TEST_CASE("no more connections are accepted than the rate lets in; the rest waits and loses nothing") {
    for (const unsigned workers : {1U, 3U}) {
        ManualClock clock;
        RuntimeOptions options = one_worker();
        options.workers = workers;
        options.clock = &clock;
        in_runtime_with(
            options,
            [](ManualClock* time) -> Task<> {
                ListenOptions slow;
                slow.accepts_per_second = 10;
                slow.accept_burst = 5;
                if (Runtime::current().workers() > 1) slow.spread = Spread::reuse_port;
                auto listener = (co_await Listener::bind("127.0.0.1:0", slow)).value();
                Served served;
                Scope serving;
                serving.spawn(serve_stayers, &listener, &served);
                for (int look = 0; look < 100; ++look) co_await yield();
                std::vector<Link> clients;
                for (int client = 0; client < 40; ++client)
                    clients.push_back((co_await Link::connect(listener.address())).value());
                // Several workers' accepts may have been armed for the same token: it is a debt then.
                const int ahead = static_cast<int>(Runtime::current().workers()) - 1;
                for (int allowed = 5; served.total < 40; allowed += 5) {
                    while (served.total < std::min(allowed, 40)) co_await yield();
                    for (int look = 0; look < 500; ++look) co_await yield();
                    CHECK(served.total <= allowed + ahead);
                    time->advance(500ms);
                }
                clients.clear();
                serving.cancel();
                co_await serving.join();
            },
            &clock);
    }
}

TEST_CASE("at stop, what waits for the accept rate is served all the same") {
    static std::atomic<int> answered;
    answered = 0;
    in_runtime([]() -> Task<> {
        ListenOptions slow;
        slow.accepts_per_second = 1;
        slow.accept_burst = 1;
        auto listener = (co_await Listener::bind("127.0.0.1:0", slow)).value();
        std::vector<Link> clients;
        for (int client = 0; client < 5; ++client) {
            clients.push_back((co_await Link::connect(listener.address())).value());
            (co_await clients.back().send("?")).value();
        }
        Scope stopping;
        stopping.spawn(
            [](const std::atomic<int>* count) -> Task<> {
                while (*count == 0) co_await yield();
                Runtime::current().request_stop();
            },
            &answered);
        co_await listener.serve([](Link link) -> Task<> {
            if (co_await link.recv()) ++answered;
        });
        co_await stopping.join();
    });
    CHECK(answered == 5);
}

TEST_CASE("several Listeners are served by one handler, each with its own options") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        std::array<Listener, 3> listeners;
        listeners[0] = (co_await Listener::bind("127.0.0.1:0")).value();
        ListenOptions shared;
        shared.spread = Spread::reuse_port;
        listeners[1] = (co_await Listener::bind("127.0.0.1:0", shared)).value();
        listeners[2] =
            (co_await Listener::bind("unix:@chainring-several-" + std::to_string(getpid()), at_most(1))).value();
        Served served;
        Scope serving;
        serving.spawn([](std::array<Listener, 3>* all,
                         Served* counts) -> Task<> { co_await Listener::serve_all(*all, stay, counts); },
                      &listeners, &served);
        std::vector<Link> clients;
        for (const Listener& listener : listeners) {
            clients.push_back((co_await Link::connect(listener.address())).value());
            CHECK(co_await greeting(&clients.back()) == "in");
        }
        clients.push_back((co_await Link::connect(listeners[2].address())).value());
        CHECK((co_await greeting(&clients.back())).substr(0, 2) == "bu");
        CHECK(served.now == 3);
        clients.clear();
        co_await until_served(&served, 0);
        Runtime::current().request_stop();
        co_await serving.join();
    });
}
