// SPDX-License-Identifier: BSL-1.0
// Both ends of the TcpMotor table: messages of 1,024 bytes, and how long each took.
//
//   bench_tcpmotor serve                               prints its address, and its figures when its input ends
//   bench_tcpmotor closed ADDRESS CONNS SECONDS        each connection sends a message and waits for it to come back
//   bench_tcpmotor paced ADDRESS CONNS SECONDS RATE    RATE messages a second in all, one way, whether they arrive or
//   not
//   bench_tcpmotor senders HOW SECONDS                 sends a second of 64 tasks to one Link; HOW: home (they live on
//   its
//                                                      worker), elsewhere (on another), outbox (there, by Outbox::send)
//
// The first byte of a message says which it is; then comes the moment when it was due, on the monotonic clock that all
// processes of a machine share, or 0 while warming up (a fifth of the time): that one is not counted. A paced message
// that could not leave in time counts from when it was due, so a stall is seen in every message that it delays.
// Figures are kept by each thread, merged at the end, and printed as JSON.
#include <chainring/chainring.hpp>

#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unistd.h>
#include <vector>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t message_size = 1024;
using Message = std::array<std::byte, message_size>;

// The six columns are counted from the exact times; percentiles come from bins a 32nd of a power of two wide.
class Figures {
public:
    void add(std::int64_t ns) noexcept {
        static constexpr std::array<std::int64_t, 5> ends = {500'000, 1'000'000, 10'000'000, 100'000'000,
                                                             1'000'000'000};
        std::size_t column = 0;
        while (column < ends.size() && ns >= ends[column]) ++column;
        ++columns_[column];
        ++count_;
        total_ns_ += ns;
        const auto value = static_cast<std::uint64_t>(ns > 32 ? ns : 32);
        const auto power = static_cast<unsigned>(63 - __builtin_clzll(value));
        ++bins_[power * 32 + ((value >> (power - 5)) & 31)];
    }
    void add(const Figures& other) noexcept {
        for (std::size_t at = 0; at < columns_.size(); ++at) columns_[at] += other.columns_[at];
        for (std::size_t at = 0; at < bins_.size(); ++at) bins_[at] += other.bins_[at];
        count_ += other.count_;
        total_ns_ += other.total_ns_;
    }
    double percentile(double percent) const noexcept {  // the middle of its bin, in microseconds
        std::uint64_t left = static_cast<std::uint64_t>(std::ceil(static_cast<double>(count_) * percent / 100));
        for (std::size_t at = 0; at < bins_.size(); ++at) {
            if (bins_[at] < left) {
                left -= bins_[at];
                continue;
            }
            return std::ldexp(32.5 + static_cast<double>(at % 32), static_cast<int>(at / 32) - 5) / 1000;
        }
        return 0;
    }
    std::uint64_t binned() const noexcept {
        std::uint64_t sum = 0;
        for (const std::uint64_t bin : bins_) sum += bin;
        return sum;
    }
    void print(std::uint64_t counted, std::uint64_t sent, std::uint64_t received, double seconds) const {
        std::printf("{\"columns\": [");
        for (std::size_t at = 0; at < columns_.size(); ++at)
            std::printf("%s%llu", at ? ", " : "", static_cast<unsigned long long>(columns_[at]));
        std::printf(
            "], \"count\": %llu, \"binned\": %llu, \"sent\": %llu, \"received\": %llu, \"seconds\": %.4f, "
            "\"average\": %.2f, \"p50\": %.2f, \"p99\": %.2f, \"p99.9\": %.2f}\n",
            static_cast<unsigned long long>(counted), static_cast<unsigned long long>(binned()),
            static_cast<unsigned long long>(sent), static_cast<unsigned long long>(received), seconds,
            count_ ? static_cast<double>(total_ns_) / static_cast<double>(count_) / 1000 : 0, percentile(50),
            percentile(99), percentile(99.9));
        std::fflush(stdout);
    }

private:
    std::array<std::uint64_t, 6> columns_{};
    std::array<std::uint64_t, 64 * 32> bins_{};
    std::uint64_t count_ = 0;
    std::int64_t total_ns_ = 0;
};

// What one thread has seen. Tasks stay on their worker.
struct alignas(64) Share {
    Figures figures;
    std::uint64_t counted = 0;
    std::uint64_t sent = 0;
    std::uint64_t received = 0;
};
std::deque<Share> shares;

Share& my_share() {
    return shares[Runtime::current_worker()];
}

std::int64_t clock_ns() {
    return std::chrono::steady_clock::now().time_since_epoch().count();
}

void print_figures(double seconds) {
    Share all;
    for (const Share& share : shares) {
        all.figures.add(share.figures);
        all.counted += share.counted;
        all.sent += share.sent;
        all.received += share.received;
    }
    all.figures.print(all.counted, all.sent, all.received, seconds);
}

// ---- the server

Task<> serve_one(Link link) {
    Message message;
    std::uint64_t received = 0;
    for (;;) {
        const auto whole = co_await link.recv_exact(message);
        if (!whole) break;
        ++received;
        if (message[0] == std::byte{'C'}) {
            const auto sent = co_await link.send(message);
            if (!sent) break;
            continue;
        }
        std::int64_t due = 0;
        std::memcpy(&due, message.data() + 1, sizeof due);
        if (due == 0) continue;
        Share& share = my_share();
        share.figures.add(clock_ns() - due);
        ++share.counted;
    }
    my_share().received += received;
    const auto told = co_await link.send(std::as_bytes(std::span(&received, 1)));
    (void)told.error();
}

Task<> serve_all() {
    auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
    std::printf("%s\n", listener.address().to_string().c_str());
    std::fflush(stdout);
    Runtime& runtime = Runtime::current();
    std::thread input([&runtime] {
        char byte;
        while (read(STDIN_FILENO, &byte, 1) > 0) {
        }
        runtime.request_stop();
    });
    co_await listener.serve(serve_one);
    input.join();
}

// ---- the clients

struct Plan {
    Address server;
    Instant counts_from;
    Instant until;
    Duration interval{};  // paced: between two messages of one connection
};

Task<> closed_loop(const Plan* plan) {
    auto link = (co_await Link::connect(plan->server)).value();
    Message message{};
    Message back;
    message[0] = std::byte{'C'};
    Share& share = my_share();
    for (Instant begin = now(); begin < plan->until;) {
        (co_await link.send(message)).value();
        ++share.sent;
        (co_await link.recv_exact(back)).value();
        ++share.received;
        const Instant end = now();
        if (begin >= plan->counts_from) {
            share.figures.add((end - begin).count());
            ++share.counted;
        }
        begin = end;
    }
}

Task<> paced(const Plan* plan, Duration offset) {
    auto link = (co_await Link::connect(plan->server)).value();
    Message message{};
    message[0] = std::byte{'O'};
    Share& share = my_share();
    std::uint64_t sent = 0;
    for (Instant due = now() + offset; due < plan->until; due += plan->interval) {
        co_await sleep_until(due);
        const std::int64_t stamp = due < plan->counts_from ? 0 : due.time_since_epoch().count();
        std::memcpy(message.data() + 1, &stamp, sizeof stamp);
        (co_await link.send(message)).value();
        ++sent;
        if (stamp != 0) ++share.counted;
    }
    share.sent += sent;
    (co_await link.shutdown_write()).value();
    std::uint64_t received = 0;
    (co_await link.recv_exact(std::as_writable_bytes(std::span(&received, 1)))).value();
    share.received += received;
}

Task<> load(std::string mode, std::string server, unsigned conns, double seconds, double rate) {
    Plan plan;
    plan.server = Address::parse(server).value();
    const auto whole = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
    plan.counts_from = now() + whole / 5;
    plan.until = plan.counts_from + whole;
    if (rate > 0) plan.interval = std::chrono::duration_cast<Duration>(std::chrono::duration<double>(conns / rate));
    Scope scope;
    for (unsigned conn = 0; conn < conns; ++conn) {
        const unsigned worker = conn % Runtime::current().workers();
        if (mode == "closed")
            scope.spawn_on(worker, closed_loop, &plan);
        else
            scope.spawn_on(worker, paced, &plan, plan.interval * conn / conns);
    }
    co_await scope.join();
    print_figures(seconds);
}

// ---- many small sends to one Link

Task<> send_small(Link* link, Outbox outbox, bool by_outbox, Instant until, std::uint64_t* sent) {
    const std::string text(100, 's');
    const Payload payload(text);
    while (now() < until) {
        bool taken = false;
        if (by_outbox) {
            const auto queued = co_await outbox.send(payload);
            taken = queued.has_value();
            const bool go_on = co_await yield();  // a send that finds room does not suspend
            if (!go_on) break;
        } else {
            const auto done = co_await link->send(text);
            taken = done.has_value();
        }
        if (!taken) break;
        ++*sent;
    }
}

Task<> senders(std::string how, double seconds) {
    constexpr unsigned count = 64;
    auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
    auto near = (co_await Link::connect(listener.address())).value();
    auto far = (co_await listener.accept()).value();
    OutboxOptions options;
    options.slow_receiver = SlowReceiver::wait;
    const Outbox outbox = near.outbox(options);
    std::array<std::uint64_t, count> sent{};
    Scope sending;
    Scope receiving;
    receiving.spawn_on(
        0,
        [](Link* link) -> Task<> {
            for (;;) {
                const auto chunk = co_await link->recv();
                if (!chunk) break;
            }
        },
        &far);
    const Instant until = now() + std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
    for (unsigned task = 0; task < count; ++task)
        sending.spawn_on(how == "home" ? 0 : 1, send_small, &near, outbox, how == "outbox", until, &sent[task]);
    co_await sending.join();
    std::uint64_t all = 0;
    for (const std::uint64_t of_one : sent) all += of_one;
    std::printf("%s: %.0f sends/s\n", how.c_str(), static_cast<double>(all) / seconds);
    near.abort();
    co_await receiving.join();
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    RuntimeOptions options;
    const char* threads = std::getenv("TCPMOTOR_THREADS");
    options.workers = threads ? static_cast<unsigned>(std::atoi(threads)) : 1;
    options.steal = Steal::never;
    options.log = [](std::string_view) {};
    shares.resize(options.workers);
    if (words.size() == 1 && words[0] == "serve") {
        const Instant start = now();
        const int code = run(options, serve_all);
        print_figures(std::chrono::duration<double>(now() - start).count());
        return code;
    }
    if (words.size() == 3 && words[0] == "senders") {
        options.workers = 2;
        return run(options, senders, words[1], std::stod(words[2]));
    }
    const bool is_paced = words.size() == 5 && words[0] == "paced";
    if (!is_paced && !(words.size() == 4 && words[0] == "closed")) {
        std::fprintf(stderr, "usage: see the top of tcpmotor.cpp\n");
        return 2;
    }
    return run(options, load, words[0], words[1], static_cast<unsigned>(std::stoul(words[2])), std::stod(words[3]),
               is_paced ? std::stod(words[4]) : 0.0);
}
