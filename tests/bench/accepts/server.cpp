// SPDX-License-Identifier: BSL-1.0
// server THREADS one|each: accepts connections with one listening socket, or with one for each worker; sends a byte to
// each and waits for its end. Prints its port, runs until SIGTERM, then prints how many it has served, by worker:
//
//     port 40123
//     served 25610 25624
#include <chainring/chainring.hpp>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string_view>

using namespace chainring;

namespace {

constexpr unsigned most_threads = 64;
using Served = std::array<std::atomic<unsigned long>, most_threads>;

Task<> greet(Link link, Served* served) {
    const unsigned home = link.home();
    const auto sent = co_await link.send("!");
    if (!sent) co_return;
    ++(*served)[home];
    (void)co_await link.recv();  // its reset
}

Task<int> serve(bool each, Served* served) {
    ListenOptions options;
    if (each) options.spread = Spread::reuse_port;
    auto listener = co_await Listener::bind("127.0.0.1:0", options);
    if (!listener) co_return 1;
    std::printf("port %u\n", listener->address().port());
    std::fflush(stdout);
    co_await listener->serve(greet, served);
    co_return 0;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    RuntimeOptions options;
    options.workers = static_cast<unsigned>(std::atoi(argv[1]));
    options.handle_signals = true;
    if (options.workers == 0 || options.workers > most_threads) return 2;
    static Served served{};
    const int code = run(options, serve, std::string_view(argv[2]) == "each", &served);
    std::printf("served");
    for (unsigned worker = 0; worker < options.workers; ++worker) std::printf(" %lu", served[worker].load());
    std::printf("\n");
    return code;
}
