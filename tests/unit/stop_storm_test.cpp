// SPDX-License-Identifier: BSL-1.0
// Runtimes that are stopped at a random moment under load, once or twice: a relay in front of an echo, and a chat. When
// run() has returned nothing is in flight and nothing was leaked; and where one stop is all, and its grace long, no
// reply and no line was cut. The clients are plain sockets in a thread of their own, which also stops the runtime.
// They need both to be real; in the simulated world chainring_sim stops servers. CHAINRING_STORMS is how many times
// each.
#include "tests/unit/contest.hpp"

#include <array>
#include <cerrno>
#include <map>
#include <mutex>
#include <poll.h>
#include <thread>
#include <vector>

using namespace support;

namespace {

constexpr std::size_t request_size = 4096;
constexpr unsigned client_count = 6;

unsigned storms() {
    const char* text = std::getenv("CHAINRING_STORMS");
    return text ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : rounds() / 20;
}

struct Plan {
    explicit Plan(Random& random) noexcept
        : workers(1 + random.below(2)),
          first_stop(random.below(random.one_in(4) ? 10 : 300)),
          twice(random.one_in(3)),
          second_stop(random.below(60)),
          short_grace(random.one_in(3)),
          grace(short_grace ? Duration(std::chrono::microseconds(random.below(2'000))) : Duration(8s)),
          seed(random.next()) {}
    bool gentle() const noexcept { return !twice && !short_grace; }
    unsigned workers;
    unsigned first_stop;  // after how many moves of the clients
    bool twice;
    unsigned second_stop;  // after how many more
    bool short_grace;
    Duration grace;
    std::uint64_t seed;
};

// ---- the servers

Task<> echo(Link link) {
    while (auto chunk = co_await link.recv())
        if (!co_await link.send(std::move(*chunk))) break;
}

// The echo drains too: a client that comes late is refused with a reset. So is one whose connection to the echo the
// kernel had completed, but which nobody had taken from the listener's queue when its socket was closed (listen(2)).
Task<> pass_on(Link client, Address target, std::atomic<unsigned>* refused) {
    auto upstream = co_await Link::connect(target);
    if (!upstream) {
        ++*refused;
        client.abort();
        co_return;
    }
    const RelayOutcome outcome = co_await relay(client, *upstream);
    if (outcome.error == std::errc::connection_reset && outcome.backward == 0) ++*refused;
    co_await upstream->close();
}

class Room {
public:
    unsigned join(Outbox outbox) {
        const std::lock_guard lock(mutex_);
        members_.emplace(++last_, std::move(outbox));
        return last_;
    }
    void leave(unsigned id) {
        const std::lock_guard lock(mutex_);
        members_.erase(id);
    }
    void broadcast(unsigned from, std::string text) {
        const Payload payload(std::move(text));
        const std::lock_guard lock(mutex_);
        for (const auto& [id, outbox] : members_)
            if (id != from) outbox.post(payload);
    }

private:
    std::mutex mutex_;
    unsigned last_ = 0;
    std::map<unsigned, Outbox> members_;
};

Task<> talk(Link link, Room* room) {
    const unsigned id = room->join(link.outbox());
    for (;;) {
        auto line = co_await link.recv_until("\n", 8192);
        if (!line) break;
        room->broadcast(id, *line + "\n");
    }
    room->leave(id);
    room->broadcast(id, "somebody left\n");
}

// ---- the clients

int connect_plainly(const Address& to) {
    const int fd = ::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(::connect(fd, plain::raw(to), plain::size(to)) == 0);
    return fd;
}

struct Client {
    explicit Client(const Address& to) : peer(connect_plainly(to)) {}
    Peer peer;
    std::size_t asked = 0;
    std::size_t got = 0;
    char last = '\n';
    bool ended = false;
    bool was_reset = false;
};

// Each has at most one request under way.
void move_relay(Client& client, Random&) {
    if (client.got < client.asked) return;
    const std::string request(request_size, 'r');
    if (::send(client.peer.fd(), request.data(), request.size(), MSG_NOSIGNAL) > 0) client.asked += request_size;
}

void move_chat(Client& client, Random& random) {
    std::string line(random.below(random.one_in(5) ? 3'000 : 60), 'c');
    line += '\n';
    ::send(client.peer.fd(), line.data(), line.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

void read_what_is_there(Client& client) {
    std::string bytes;
    for (;;) {
        bytes.clear();
        const long got = client.peer.take(bytes, 1 << 16);
        if (got > 0) {
            client.got += bytes.size();
            client.last = bytes.back();
            continue;
        }
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
        client.ended = true;
        client.was_reset = got < 0;
        return;
    }
}

using Move = void (*)(Client&, Random&);

struct Outcome {
    unsigned cut = 0;     // clients that have a part of a reply, or of a line
    unsigned resets = 0;  // instead of an end of stream
};

// Moves and reads in turns until all connections have ended, and stops the runtime on the way. Each client closes as
// soon as it sees the end, so that nobody lingers for it.
Outcome storm(Runtime& runtime, const Address& to, const Plan& plan, Move move, bool lines) {
    Random random(plan.seed);
    std::vector<Client> clients;
    for (unsigned number = 0; number < client_count; ++number) clients.emplace_back(to);
    Outcome outcome;
    unsigned moves = 0;
    unsigned open = client_count;
    unsigned stops = 0;
    while (open > 0) {
        if (stops == 0 && moves >= plan.first_stop) {
            runtime.request_stop();
            ++stops;
        } else if (stops == 1 && plan.twice && moves >= plan.first_stop + plan.second_stop) {
            runtime.request_stop();
            ++stops;
        }
        ++moves;
        std::array<pollfd, client_count> ready{};
        for (unsigned number = 0; number < client_count; ++number) {
            Client& client = clients[number];
            ready[number].fd = client.ended ? -1 : client.peer.fd();
            ready[number].events = POLLIN;
            if (!client.ended && random.one_in(2)) move(client, random);
        }
        ::poll(ready.data(), ready.size(), random.one_in(2) ? 0 : 1);
        for (Client& client : clients) {
            if (client.ended) continue;
            read_what_is_there(client);
            if (!client.ended) continue;
            --open;
            outcome.cut += (lines ? client.last != '\n' : client.got % request_size != 0) ? 1 : 0;
            outcome.resets += client.was_reset ? 1 : 0;
            client.peer = Peer();
        }
    }
    if (stops == 0) runtime.request_stop();
    return outcome;
}

struct Storm {
    Storm(Runtime& to_stop, const Plan& how) : runtime(to_stop), plan(how) {}
    Runtime& runtime;
    const Plan& plan;
    std::thread clients;
    Outcome outcome;
    std::atomic<unsigned> refused{0};
    Room room;
    void begin(const Address& to, Move move, bool lines) {
        clients = std::thread([this, to, move, lines] { outcome = storm(runtime, to, plan, move, lines); });
    }
};

Task<> serve_echo(Listener* listener) {
    co_await listener->serve(echo);
}

Task<> relay_main(Storm* storm) {
    auto behind = (co_await Listener::bind("127.0.0.1:0")).value();
    auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
    Scope scope;
    scope.spawn(serve_echo, &behind);
    storm->begin(listener.address(), move_relay, false);
    co_await listener.serve(pass_on, behind.address(), &storm->refused);
    co_await scope.join();
}

Task<> chat_main(Storm* storm) {
    auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
    storm->begin(listener.address(), move_chat, true);
    co_await listener.serve(talk, &storm->room);
}

void stop_again_and_again(Task<> (*main)(Storm*)) {
    CAPTURE(seed());
    Random random(seed());
    unsigned gentle = 0;
    const int before = descriptors();
    for (unsigned round = 0; round < storms(); ++round) {
        CAPTURE(round);
        const Plan plan(random);
        RuntimeOptions options = one_worker();
        options.workers = plan.workers;
        options.stop_grace = plan.grace;
        Runtime runtime(options);
        Storm storm(runtime, plan);
        runtime.run(main, &storm);
        storm.clients.join();
        for (unsigned worker = 0; worker < runtime.workers(); ++worker) {
            const WorkerMetrics left = runtime.metrics(worker);
            CHECK(left.operations == 0);
            CHECK(left.buffers_lent == 0);
            CHECK(left.links == 0);
        }
        if (!plan.gentle()) continue;
        ++gentle;
        CHECK(storm.outcome.cut == 0);
        CHECK(storm.outcome.resets <= storm.refused);
    }
    CHECK(descriptors() == before);
    CHECK((gentle > 0 || storms() < 30));
}

}  // namespace

TEST_CASE("a relay that is stopped at any moment leaves nothing behind and cuts no reply" * not_simulated()) {
    stop_again_and_again(relay_main);
}

TEST_CASE("a chat that is stopped at any moment leaves nothing behind and cuts no line" * not_simulated()) {
    stop_again_and_again(chat_main);
}
