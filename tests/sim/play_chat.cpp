// SPDX-License-Identifier: BSL-1.0
// chat: guests say lines and hear those of the others. Rules:
//
//   what a guest hears of another one is a run of that one's lines without a gap, in order, each once
//   a guest who stayed has heard every line of every other one who stayed, from the first that was said when it was
//   known to be in the room
//
// A guest is one connection of a client. It is known to be in the room when it has heard something, or somebody has
// heard it.
#include "tests/sim/plays.hpp"
#include "tests/sim/samples.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace chainring;
using namespace std::chrono_literals;

namespace {

constexpr std::uint16_t port = 7000;
constexpr std::size_t longest_line = 8192;

struct Guest {
    struct Heard {
        unsigned first = 0;  // 0: nothing
        unsigned last = 0;
    };
    std::size_t number = 0;
    unsigned began = 0;  // see Stage::interruptions; when it asked for the connection
    bool known = false;
    bool gone = false;
    bool ended_writing = false;
    bool stayed = false;  // to the orderly end
    unsigned said = 0;
    std::vector<Heard> heard;   // by guest
    std::vector<unsigned> due;  // by guest: the first line of this one's that it has to hear; 0: none

    template <class Items>
    static auto& entry(Items& items, std::size_t at) {
        if (items.size() <= at) items.resize(at + 1);
        return items[at];
    }
};

struct Client {
    unsigned said = 0;
    Guest* guest = nullptr;  // now
    bool left = false;
};

struct Party {
    explicit Party(std::size_t size) : clients(size) {}
    Stage* stage = nullptr;
    std::vector<std::unique_ptr<Guest>> guests;
    std::vector<Client> clients;
    bool over = false;

    Guest& arrive(Client& client, unsigned began) {
        guests.push_back(std::make_unique<Guest>());
        Guest& guest = *guests.back();
        guest.number = guests.size() - 1;
        guest.began = began;
        client.guest = &guest;
        return guest;
    }

    // Notes who has to hear it.
    std::string next_line(Client& client, Guest& guest) {
        ++client.said;
        ++guest.said;
        ++stage->figures.messages;
        for (const auto& other : guests)
            if (other.get() != &guest && other->known && !other->gone)
                if (unsigned& due = Guest::entry(guest.due, other->number); due == 0) due = guest.said;
        return std::to_string(guest.number) + " " + std::to_string(guest.said) + " " +
               std::string(static_cast<std::size_t>(stage->draw(0, 80)), '.') + "\n";
    }

    // "guest-N: SPEAKER LINE ...", or "* guest-N joined".
    void hear(Guest& guest, std::string_view line) {
        guest.known = true;
        if (line.starts_with("* guest-")) return;
        const std::size_t text = line.find(": ");
        require(line.starts_with("guest-") && text != line.npos, "a line is neither a guest's nor a notice");
        std::size_t speaker = 0;
        unsigned number = 0;
        const char* const end = line.data() + line.size();
        const auto first = std::from_chars(line.data() + text + 2, end, speaker);
        const auto second = std::from_chars(std::min(first.ptr + 1, end), end, number);
        require(first.ec == std::errc() && second.ec == std::errc() && speaker < guests.size(), "a line is garbled");
        Guest& other = *guests[speaker];
        require(&other != &guest, "a guest hears itself");
        require(number >= 1 && number <= other.said, "a line is heard that was not said");
        other.known = true;
        Guest::Heard& heard = Guest::entry(guest.heard, speaker);
        require(heard.first == 0 || number == heard.last + 1, "a line is missing, twice or out of order");
        if (heard.first == 0) heard.first = number;
        heard.last = number;
    }

    // `by` has heard all that it had to hear of `of`.
    static bool heard_all(Guest& of, Guest& by) {
        const unsigned due = Guest::entry(of.due, by.number);
        const Guest::Heard heard = Guest::entry(by.heard, of.number);
        return due == 0 || (heard.first != 0 && heard.first <= due && heard.last == of.said);
    }
    bool settled() const {
        for (const Client& client : clients)
            if (!client.guest || !client.guest->known || client.guest->gone || client.said < stage->scale.messages)
                return false;
        for (const Client& one : clients)
            for (const Client& other : clients)
                if (&one != &other && !heard_all(*one.guest, *other.guest)) return false;
        return true;
    }
    bool all_left() const {
        return std::all_of(clients.begin(), clients.end(), [](const Client& client) { return client.left; });
    }
    void judge() {
        for (const auto& one : guests)
            for (const auto& other : guests)
                if (one != other && one->stayed && other->stayed)
                    require(heard_all(*one, *other), "a guest who stayed has not heard another one who did");
        for (const auto& guest : guests)
            if (guest->stayed) ++stage->figures.orderly;
    }
};

// Says its lines, and then one every now and then, as people do: who has lost the server without a word learns of it.
Task<> say_lines(Party* party, Client* client, Guest* guest, Link* link) {
    Instant last = now();
    while (!party->over) {
        const bool has_lines = client->said < party->stage->scale.messages;
        if (has_lines || now() - last > 20s) {
            last = now();
            const std::string line = party->next_line(*client, *guest);
            const auto sent = co_await link->send(line).within(20s);
            if (!sent) co_return;
        }
        // Not within the co_await: GCC 12 draws there in either case.
        Duration pause = 500ms;
        if (has_lines) pause = party->stage->draw_time(100ms);
        const bool goes_on = co_await sleep_for(pause);
        if (!goes_on) co_return;
    }
    guest->ended_writing = true;
    static_cast<void>(co_await link->shutdown_write().within(20s));
}

// Who cannot speak any more goes.
Task<> speak(Party* party, Client* client, Guest* guest, Link* link) {
    co_await say_lines(party, client, guest, link);
    if (!guest->ended_writing) link->abort();
}

Task<> listen(Party* party, Guest* guest, Link* link) {
    for (unsigned quiet = 0; quiet < 60;) {
        const auto line = co_await link->recv_until("\n", longest_line).within(1s);
        if (line) {
            quiet = 0;
            party->hear(*guest, *line);
            continue;
        }
        if (line.error() == Errc::timed_out) {
            ++quiet;
            continue;
        }
        if (line.error() == Errc::eof) {
            const bool interrupted = party->stage->interrupted_since(guest->began);
            require(guest->ended_writing || interrupted, "the end of the stream comes before its time");
            const auto rest = co_await link->recv().within(1s);
            require(!rest || interrupted, "the stream ends in order in the middle of a line");
            guest->stayed = guest->ended_writing && !interrupted;
        }
        co_return;
    }
}

Task<> attend(Party* party, Client* client, Address server) {
    while (!client->left) {
        const unsigned began = party->stage->interruptions();
        auto link = co_await Link::connect(server).within(5s);
        if (link) {
            Guest& guest = party->arrive(*client, began);
            Scope scope;
            scope.spawn(speak, party, client, &guest, &*link);
            std::exception_ptr broken;
            try {
                co_await listen(party, &guest, &*link);
            } catch (...) {
                broken = std::current_exception();
            }
            guest.gone = true;
            link->abort();
            scope.cancel();
            co_await scope.join();
            if (broken) std::rethrow_exception(broken);
        }
        client->left = party->over;
        const bool goes_on = co_await sleep_for(1ms + party->stage->draw_time(200ms));
        if (!goes_on) co_return;
    }
}

Task<> attend_all(Party* party, std::size_t host, Address server) {
    Scope scope;
    for (std::size_t client = host; client < party->clients.size(); client += 2)
        scope.spawn(attend, party, &party->clients[client], server);
    co_await scope.join();
}

}  // namespace

Figures play_chat(sim::World& world, const Scale& scale) {
    const Silence silence;
    const CommandLine options("chat", "");
    Party party(scale.clients);
    Stage stage(world, scale);
    party.stage = &stage;
    sim::Host& server = stage.add_server("chat");
    server.start(serve_chat, std::cref(options));
    const auto wanted = [&party] { return !party.all_left(); };
    const std::array names = {"guests", "others"};
    for (std::size_t host = 0; host < names.size(); ++host)
        stage.add_client(names[host], wanted).start(attend_all, &party, host, server.address(port));
    stage.perform([&] { return party.settled(); });
    party.over = true;
    stage.go_on([&] { return party.all_left(); });
    party.judge();
    return stage.finish(true);
}
