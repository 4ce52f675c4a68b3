// SPDX-License-Identifier: BSL-1.0
// chat: every line that a client sends goes to all others, with notices of who joins and leaves. A broadcast makes one
// buffer, which all receivers share. A client that does not read is disconnected once --outbox bytes wait for it; it
// slows nobody else.
#include <chainring/chainring.hpp>

#include "samples/command_line.hpp"

#include <map>
#include <mutex>

using namespace chainring;
using namespace std::chrono_literals;

// Who is in the room. Members live on several workers: a mutex guards the list, an Outbox reaches each of them.
class Room {
public:
    unsigned join(Outbox outbox) {
        const std::lock_guard lock(mutex_);
        members_.emplace(++last_id_, std::move(outbox));
        return last_id_;
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
    unsigned last_id_ = 0;
    std::map<unsigned, Outbox> members_;
};

constexpr std::size_t max_line = 4096;

Task<> talk(Link link, Room* room, std::size_t outbox_limit) {
    const unsigned id = room->join(link.outbox(outbox_limit));
    const std::string name = "guest-" + std::to_string(id);
    room->broadcast(id, "* " + name + " joined\n");
    for (;;) {
        auto line = co_await link.recv_until("\n", max_line);
        if (!line) {
            if (line.error() == Errc::too_long) room->broadcast(0, "* " + name + " sent a line that is too long\n");
            break;
        }
        if (!line->empty() && line->back() == '\r') line->pop_back();
        room->broadcast(id, name + ": " + *line + "\n");
    }
    room->leave(id);
    room->broadcast(id, "* " + name + " left\n");
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
