// SPDX-License-Identifier: BSL-1.0
// echo: sends back whatever a client sends (RFC 862), until the client ends its direction. The server itself is the two
// coroutines at the top; the rest is the command line.
#include <chainring/chainring.hpp>

#include "samples/command_line.hpp"

using namespace chainring;
using namespace std::chrono_literals;

Task<> echo(Link link) {
    while (auto chunk = co_await link.recv().within(10min))  // false at end of stream, error, timeout, stop
        if (!co_await link.forward(std::move(*chunk))) break;
}

Task<int> serve_echo(const CommandLine& options) {
    auto listener = co_await Listener::bind(options.listen, options.listening);
    if (!listener) co_return options.cannot_listen(listener.error());
    options.announce(listener->address());
    co_await listener->serve(echo);
    co_return 0;
}

int main(int argc, char** argv) {
    CommandLine options("echo", "Sends back whatever a client sends.");
    options.hint = "printf 'hello\\n' | nc -N {}";
    if (!options.parse(argc, argv)) return options.exit_code;
    return run(options.runtime, serve_echo, std::cref(options));
}
