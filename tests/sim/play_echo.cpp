// SPDX-License-Identifier: BSL-1.0
// echo, and relay before echo: conversations with something that sends back what it receives.
#include "tests/sim/conversation.hpp"
#include "tests/sim/plays.hpp"
#include "tests/sim/samples.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <utility>
#include <vector>

using namespace chainring;

namespace {

constexpr std::uint16_t port = 7000;

Task<> converse_all(std::vector<Conversation>* conversations, Address server) {
    Scope scope;
    for (Conversation& conversation : *conversations) scope.spawn(converse, &conversation, server);
    co_await scope.join();
}

bool all_satisfied(const std::vector<Conversation>& conversations) {
    return std::all_of(conversations.begin(), conversations.end(), [](const auto& each) { return each.satisfied(); });
}

using Conversations = std::array<std::vector<Conversation>, 2>;  // the clients are on two hosts

Figures converse_with(Stage& stage, Conversations& conversations, Address server, bool forsaken) {
    for (unsigned number = 0; number < stage.scale.clients; ++number) {
        const auto style = static_cast<Style>(stage.draw(0, static_cast<std::uint64_t>(Style::count) - 1));
        conversations[number % 2].push_back({&stage, number, style, stage.scale.messages});
    }
    const std::array names = {"clients", "others"};
    for (std::size_t host = 0; host < 2; ++host) {
        std::vector<Conversation>& here = conversations[host];
        if (here.empty()) continue;
        stage.add_client(names[host], [&here] { return !all_satisfied(here); }).start(converse_all, &here, server);
    }
    stage.perform([&] { return all_satisfied(conversations[0]) && all_satisfied(conversations[1]); });
    return stage.finish(forsaken);
}

}  // namespace

Figures play_echo(sim::World& world, const Scale& scale) {
    const Silence silence;
    const CommandLine options("echo", "");
    Conversations conversations;
    Stage stage(world, scale);
    sim::Host& server = stage.add_server("echo");
    server.start(serve_echo, std::cref(options));
    return converse_with(stage, conversations, server.address(port), false);
}

Figures play_relay(sim::World& world, const Scale& scale) {
    const Silence silence;
    const CommandLine options("relay", "");
    Conversations conversations;
    Stage stage(world, scale);
    sim::Host& target = stage.add_server("echo");
    sim::Host& server = stage.add_server("relay");
    target.start(serve_echo, std::cref(options));
    server.start(serve_relay, std::cref(options), target.address(port));
    return converse_with(stage, conversations, server.address(port), true);
}
