// SPDX-License-Identifier: BSL-1.0
// chat: every line that a client sends goes to all others, with notices of who joins and leaves. A broadcast makes one
// buffer, which all receivers share. A client that does not read is disconnected once --outbox bytes wait for it; it
// slows nobody else.
#include <chainring/chainring.hpp>

#include "samples/command_line.hpp"

#include <atomic>

using namespace chainring;
using namespace std::chrono_literals;

struct Room {
    void say(std::string line, LinkId from = LinkId()) { members.post_all(Payload(std::move(line)), from); }
    LinkTable members;  // on whichever worker they live
    std::atomic<unsigned> last_number = 0;
};

constexpr std::size_t max_line = 4096;

Task<> talk(Link link, Room* room, std::size_t outbox_limit) {
    const std::string name = "guest-" + std::to_string(++room->last_number);
    const LinkId id = room->members.add(link.outbox(outbox_limit));
    room->say("* " + name + " joined\n", id);
    for (;;) {
        auto line = co_await link.recv_until("\n", max_line);
        if (!line) {
            if (line.error() == Errc::too_long) room->say("* " + name + " sent a line that is too long\n");
            break;
        }
        if (!line->empty() && line->back() == '\r') line->pop_back();
        room->say(name + ": " + *line + "\n", id);
    }
    room->members.remove(id);
    room->say("* " + name + " left\n");
}

Task<int> serve_chat(const CommandLine& options) {
    auto listener = co_await Listener::bind(options.listen, options.listening);
    if (!listener) co_return options.cannot_listen(listener.error());
    options.announce(listener->address());
    Room room;
    co_await listener->serve(talk, &room, options.outbox_limit);
    co_return 0;
}

int main(int argc, char** argv) {
    CommandLine options("chat", "Passes each client's lines on to all others.");
    options.hint = "nc {}   (twice, and type)";
    options.extra_help = "  --outbox BYTES    disconnect a client when more than this waits for it (default 1048576)\n";
    if (!options.parse(argc, argv)) return options.exit_code;
    return run(options.runtime, serve_chat, std::cref(options));
}
