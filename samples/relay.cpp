// SPDX-License-Identifier: BSL-1.0
// relay: passes each connection on to a target, both directions, half close included, in bounded memory; with --rate,
// no faster than that.
#include <chainring/chainring.hpp>

#include "samples/command_line.hpp"

#include <optional>

using namespace chainring;
using namespace std::chrono_literals;

struct Buckets {
    explicit Buckets(std::uint64_t bytes_per_second) noexcept : up(bytes_per_second), down(bytes_per_second) {}
    TokenBucket up;
    TokenBucket down;
    RelayLimits limits() noexcept { return RelayLimits{&up, &down}; }
};

Task<> pass_on(Link client, Address target, RelayLimits limits) {
    auto upstream = co_await Link::connect(target).within(10s);
    if (!upstream) {
        std::fprintf(stderr, "relay: cannot connect to %s: %s\n", target.to_string().c_str(),
                     upstream.error().message().c_str());
        client.abort();  // the client sees that this is no orderly end
        co_return;
    }
    co_await relay(client, *upstream, limits);
    co_await upstream->close();
}

Task<int> serve_relay(const CommandLine& options, Address target) {
    auto listener = co_await Listener::bind(options.listen, options.listening);
    if (!listener) co_return options.cannot_listen(listener.error());
    options.announce(listener->address());
    std::optional<Buckets> buckets;
    RelayLimits limits;
    if (options.kbits > 0) limits = buckets.emplace(options.kbits * 1000 / 8).limits();
    co_await listener->serve(pass_on, target, limits);
    co_return 0;
}

int main(int argc, char** argv) {
    CommandLine options("relay", "Passes connections to LISTEN (or --listen, --port) on to TARGET.");
    options.positional = " [LISTEN] TARGET";
    options.positional_count = 2;
    options.hint = "nc {}";
    options.descriptors_per_connection = 2;
    options.extra_help = "  --rate KBITS      pass on at most so many kbit/s each way, all connections together\n";
    if (!options.parse(argc, argv)) return options.exit_code;
    if (options.arguments.empty()) {
        options.wrong_usage("TARGET is missing");
        return options.exit_code;
    }
    if (options.arguments.size() == 2) options.listen = options.arguments.front();
    const auto target = Address::parse(options.arguments.back());
    if (!target) {
        options.bad_value("target '" + options.arguments.back() + "': " + target.error().message());
        return options.exit_code;
    }
    return run(options.runtime, serve_relay, std::cref(options), *target);
}
