// SPDX-License-Identifier: BSL-1.0
// Compilers' faults that the public API has to live with (docs/design/toolchain.md): every public awaitable, awaited as
// a temporary, with temporaries as arguments, is constructed and destroyed equally often. The counting is done by
// arguments and results that own memory, under AddressSanitizer, and by Counted.
#include "tests/unit/support.hpp"

#include <memory>
#include <vector>

using namespace support;

namespace {

Task<Counted> counted() {
    co_return Counted();
}
Task<std::unique_ptr<int>> owning(std::unique_ptr<int> in, std::string text) {
    *in += static_cast<int>(text.size());
    co_return in;
}
Task<Result<std::string>> result_of(std::string text) {
    co_return Result<std::string>(std::move(text));
}

}  // namespace

TEST_CASE("awaited temporaries are destroyed as often as they were made") {
    Counted::alive = 0;
    in_runtime([]() -> Task<> {
        for (int round = 0; round < 50; ++round) {
            const std::string filler(64, 'f');
            { auto kept = co_await counted(); }
            co_await counted();
            CHECK(*co_await owning(std::make_unique<int>(1), filler + "x") == 66);
            CHECK((co_await result_of(filler + filler)).value().size() == 128);
            auto listener = (co_await Listener::bind("127.0.0.1:" + std::to_string(0))).value();
            auto near = (co_await Link::connect(listener.address().to_string()).within(5s)).value();
            auto far = (co_await listener.accept().within(5s)).value();
            CHECK(*co_await near.send(std::string_view(filler + "one\n")).within(5s) == 68);
            CHECK(*co_await far.recv_until(std::string("\n"), 1000).within(5s) == filler + "one");
            std::vector<IoSlice> pieces;
            pieces.emplace_back(std::string_view("ab"));
            pieces.emplace_back(std::string_view("cd"));
            CHECK(*co_await near.send(pieces) == 4);
            std::array<std::byte, 2> two{};
            CHECK(*co_await far.recv(std::span(two)).within(5s) == 2);
            (co_await far.recv_exact(two).within(5s)).value();
            (co_await near.send("chunk")).value();
            CHECK(*co_await far.send(std::move(*co_await far.recv().within(5s))) == 5);
            CHECK((co_await near.recv()).value().to_string() == "chunk");
            Framed<Lines> lines(near);
            Framed<Lines> heard(far, Lines(1000));
            CHECK(*co_await lines.send(std::string_view(filler + "two")).within(5s) == 69);
            CHECK((co_await heard.recv().within(5s)).value().to_string() == filler + "two");
            CHECK(*co_await near.send(Payload(filler)).within(5s) == 64);
            {
                const Outbox outbox = near.outbox({.high_water = 1000, .slow_receiver = SlowReceiver::wait});
                (co_await outbox.send(Payload(filler + filler)).within(5s)).value();
                (co_await near.outbox().drained().within(5s)).value();
            }
            std::array<std::byte, 192> posted{};
            (co_await far.recv_exact(posted)).value();
            (co_await near.shutdown_write()).value();
            CHECK((co_await far.recv()).error() == Errc::eof);
            co_await near.close().within(1s);
            co_await far.close();
            Event event;
            event.set();
            (co_await event.wait().within(1s)).value();
            CHECK(co_await sleep_for(1us));
            CHECK(co_await yield());
            Scope scope;
            scope.spawn(
                [](std::unique_ptr<int> value, Counted) -> Task<> {
                    co_await yield();
                    CHECK(*value == 3);
                },
                std::make_unique<int>(3), Counted());
            co_await scope.join();
        }
    });
    CHECK(Counted::alive == 0);
}
