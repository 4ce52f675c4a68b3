// SPDX-License-Identifier: BSL-1.0
// The clients of many Links, as many as one process may have: ./run starts some of these and tells them what to do.
//
//   many_links_client BACKEND PORT          BACKEND: uring, epoll or auto
//
// Reads one command a line from its input, answers each with one line of JSON, and ends with its input, or with the
// first error, which it tells on stderr (exit status 1). Commands:
//
//   connect FIRST COUNT PER-ADDRESS AT-A-TIME
//       Opens COUNT Links. Those numbered from FIRST on, PER-ADDRESS of them go to 127.0.0.1, as many to 127.0.0.2, and
//       so on: a pair of addresses has no more connections than there are local ports. "times": when each hundredth
//       was connected, in nanoseconds of the monotonic clock.
//   exchange FIRST BYTES AT-A-TIME
//       Each Link from index FIRST on sends a message of BYTES and compares what comes back.
//   load START SECONDS COUNT RATE BYTES
//       COUNT of the Links, spread evenly, send messages of BYTES from START on (the monotonic clock, in ns), one in
//       flight on each. RATE 0: the next one as soon as the last has come back (closed loop). Else RATE a second in
//       all, each Link in its turn; a message counts from when it was due, so a stall is seen in every one that it
//       delays. The first fifth of the time is not counted. "bins": how many took how long, in bins a 32nd of a power
//       of two of nanoseconds wide, by the number of the bin.
//   abort                                   resets all of them, so that no port stays in TIME_WAIT
#include <chainring/chainring.hpp>

#include <arpa/inet.h>
#include <array>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <map>
#include <netinet/in.h>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace chainring;

namespace {

constexpr std::size_t connects_told = 100;  // one of so many

// One thread, all of it: the process has one worker.
struct Client {
    std::uint16_t port = 0;
    std::vector<Link> links;
    std::vector<std::int64_t> times;
    std::string failure;  // the first one

    void fail(const char* what, std::error_code error) {
        if (failure.empty()) failure = std::string(what) + ": " + error.message();
    }
};

std::int64_t clock_ns() {
    return std::chrono::steady_clock::now().time_since_epoch().count();
}

Address server_address(std::uint64_t number, std::uint16_t port) {
    sockaddr_in name{};
    name.sin_family = AF_INET;
    name.sin_port = htons(port);
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK + static_cast<std::uint32_t>(number));
    return Address::from_sockaddr(&name, sizeof name);
}

std::string list_of(const std::vector<std::int64_t>& numbers) {
    std::string text = "[";
    for (const std::int64_t number : numbers) text += (text.size() > 1 ? "," : "") + std::to_string(number);
    return text + "]";
}

// ---- connect

struct Connecting {
    Client* client = nullptr;
    std::size_t first = 0;
    std::size_t count = 0;
    std::size_t per_address = 0;
    std::size_t next = 0;
};

Task<> connect_some(Connecting* work) {
    Client& client = *work->client;
    while (work->next < work->count && client.failure.empty()) {
        const Address to = server_address((work->first + work->next++) / work->per_address, client.port);
        auto link = co_await Link::connect(to);
        if (!link) {
            client.fail("connect", link.error());
            break;
        }
        client.links.push_back(std::move(*link));
        if (client.links.size() % connects_told == 0) client.times.push_back(clock_ns());
    }
}

Task<std::string> connect_all(Client* client, std::istringstream* words) {
    Connecting work;
    std::size_t at_a_time = 0;
    *words >> work.first >> work.count >> work.per_address >> at_a_time;
    work.client = client;
    client->links.reserve(client->links.size() + work.count);
    client->times.clear();
    Scope scope;
    for (std::size_t task = 0; task < at_a_time; ++task) scope.spawn(connect_some, &work);
    co_await scope.join();
    co_return "{\"links\": " + std::to_string(client->links.size()) + ", \"times\": " + list_of(client->times) + "}";
}

// ---- exchange

struct Exchange {
    Client* client = nullptr;
    std::size_t next = 0;
    std::string message;
};

Task<> exchange_some(Exchange* work) {
    Client& client = *work->client;
    std::string back(work->message.size(), '\0');
    while (work->next < client.links.size() && client.failure.empty()) {
        Link& link = client.links[work->next++];
        const auto sent = co_await link.send(work->message);
        if (!sent) client.fail("send", sent.error());
        const auto got = co_await link.recv_exact(std::as_writable_bytes(std::span(back)));
        if (!got) client.fail("recv", got.error());
        if (got && back != work->message) client.fail("echo", std::make_error_code(std::errc::bad_message));
    }
}

Task<std::string> exchange_all(Client* client, std::istringstream* words) {
    Exchange work;
    std::size_t bytes = 0;
    std::size_t at_a_time = 0;
    *words >> work.next >> bytes >> at_a_time;
    work.client = client;
    for (std::size_t byte = 0; byte < bytes; ++byte) work.message.push_back(static_cast<char>('!' + byte * 7 % 89));
    Scope scope;
    for (std::size_t task = 0; task < at_a_time; ++task) scope.spawn(exchange_some, &work);
    co_await scope.join();
    co_return "{}";
}

// ---- load

struct Load {
    Client* client = nullptr;
    Instant start;
    Instant counts_from;
    Instant until;
    Duration interval{};  // between two messages of one Link; 0: closed loop
    std::string message;
    std::uint64_t counted = 0;
    std::map<unsigned, std::uint64_t> bins;

    void count(std::int64_t ns) {
        const auto value = static_cast<std::uint64_t>(ns > 32 ? ns : 32);
        const auto power = static_cast<unsigned>(63 - __builtin_clzll(value));
        ++bins[power * 32 + static_cast<unsigned>((value >> (power - 5)) & 31)];
        ++counted;
    }
};

Task<> load_one(Load* load, std::size_t index, Duration offset) {
    Link& link = load->client->links[index];
    std::string message = load->message;
    std::string back(message.size(), '\0');
    co_await sleep_until(load->start);
    Instant due = load->start + offset;
    for (std::uint32_t number = 0; due < load->until; ++number) {
        if (load->interval > Duration::zero()) co_await sleep_until(due);
        std::memcpy(message.data(), &number, sizeof number);
        const auto sent = co_await link.send(message);
        if (!sent) load->client->fail("send", sent.error());
        const auto got = co_await link.recv_exact(std::as_writable_bytes(std::span(back)));
        if (!got) load->client->fail("recv", got.error());
        if (got && back != message) load->client->fail("echo", std::make_error_code(std::errc::bad_message));
        if (!load->client->failure.empty()) break;
        const Instant end = now();
        if (due >= load->counts_from && end < load->until) load->count((end - due).count());
        due = load->interval > Duration::zero() ? due + load->interval : end;
    }
}

Task<std::string> load_some(Client* client, std::istringstream* words) {
    Load load;
    std::int64_t start = 0;
    double seconds = 0;
    std::size_t count = 0;
    double rate = 0;
    std::size_t bytes = 0;
    *words >> start >> seconds >> count >> rate >> bytes;
    const auto duration_of = [](double s) {
        return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
    };
    load.client = client;
    load.start = Instant(Duration(start));
    load.counts_from = load.start + duration_of(seconds / 5);
    load.until = load.start + duration_of(seconds);
    if (rate > 0) load.interval = duration_of(static_cast<double>(count) / rate);
    load.message.assign(bytes, 'm');
    Scope scope;
    for (std::size_t link = 0; link < count; ++link)
        scope.spawn(load_one, &load, link * client->links.size() / count,
                    load.interval * static_cast<Duration::rep>(link) / static_cast<Duration::rep>(count));
    co_await scope.join();
    std::string answer = "{\"requests\": " + std::to_string(load.counted) + ", \"bins\": {";
    const char* comma = "";
    for (const auto& [bin, number] : load.bins) {
        answer += comma + ("\"" + std::to_string(bin) + "\": ") + std::to_string(number);
        comma = ", ";
    }
    co_return answer + "}}";
}

// ---- commands

// Blocks; for offload.
std::optional<std::string> read_line() {
    std::string line;
    if (!std::getline(std::cin, line)) return std::nullopt;
    return line;
}

Task<std::string> obey(Client* client, std::istringstream* words) {
    std::string command;
    *words >> command;
    std::string answer = "{}";
    if (command == "connect")
        answer = co_await connect_all(client, words);
    else if (command == "exchange")
        answer = co_await exchange_all(client, words);
    else if (command == "load")
        answer = co_await load_some(client, words);
    else if (command == "abort")
        client->links.clear();
    else
        throw std::invalid_argument("unknown command: " + command);
    if (words->fail()) throw std::invalid_argument("a malformed command: " + words->str());
    co_return answer;
}

Task<int> obey_all(std::uint16_t port) {
    Client client;
    client.port = port;
    for (;;) {
        const auto line = co_await offload(read_line);
        if (!line || !*line) break;
        std::istringstream words(**line);
        const std::string answer = co_await obey(&client, &words);
        if (!client.failure.empty()) {
            std::fprintf(stderr, "with %zu Links: %s\n", client.links.size(), client.failure.c_str());
            co_return 1;
        }
        std::printf("%s\n", answer.c_str());
        std::fflush(stdout);
    }
    co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: see the top of client.cpp\n");
        return 2;
    }
    RuntimeOptions options;
    options.workers = 1;
    options.log = [](std::string_view) {};
    if (std::strcmp(argv[1], "uring") == 0) options.backend = BackendKind::uring;
    if (std::strcmp(argv[1], "epoll") == 0) options.backend = BackendKind::epoll;
    PreflightOptions wanted;  // the soft limit of open files goes up as far as it may
    wanted.connections = 1'000'000;
    wanted.backlog = 0;
    (void)preflight(wanted);
    return run(options, obey_all, static_cast<std::uint16_t>(std::stoul(argv[2])));
}
