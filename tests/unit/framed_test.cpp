// SPDX-License-Identifier: BSL-1.0
// Framed: messages over a Link, sent and received whole.
#include "tests/unit/framed_support.hpp"

using namespace support;
using namespace std::string_view_literals;

TEST_CASE("after a bad frame every receive yields the same error") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> framed(pair.far);
        const std::string bad = length_prefixed("good") + be32(1 << 20) + length_prefixed("lost");
        (co_await pair.near.send(bad)).value();
        auto message = co_await framed.recv();
        CHECK(message->text() == "good");
        for (int again = 0; again < 3; ++again) {
            auto none = co_await framed.recv().within(5s);
            CHECK(none.error() == Errc::message_too_large);
        }
        Chunk rest = framed.take_rest();
        const std::string behind = be32(1 << 20) + length_prefixed("lost");
        if (misbehaves())  // as much as has come
            CHECK(behind.starts_with(rest.to_string()));
        else
            CHECK(rest.to_string() == behind);
    });
}

TEST_CASE("under serve, a handler that returns after a bad frame ends the connection in order") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Scope serving;
        serving.spawn(
            [](Listener* at) -> Task<> {
                co_await at->serve([](Link link) -> Task<> {
                    Framed<LengthPrefixed> framed(link);
                    while (auto message = co_await framed.recv()) (co_await framed.send(*message)).value();
                });
            },
            &listener);
        for (const std::uint32_t length : {65537U, 0xffff'ffffU}) {
            auto link = (co_await Link::connect(listener.address())).value();
            const std::string stream = length_prefixed("before") + be32(length) + std::string(50'000, 'x');
            (co_await link.send(stream)).value();
            Heard heard;
            Framed<LengthPrefixed> framed(link);
            co_await hear(&framed, &heard);
            CHECK(heard.messages == std::vector<std::string>(1, "before"));
            CHECK(heard.end == Errc::eof);  // not a reset
        }
        serving.cancel();
        co_await serving.join();
    });
}

TEST_CASE("a burst of messages is yielded without suspending" * not_misbehaving()) {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> near(pair.near);
        Framed<LengthPrefixed> far(pair.far);
        std::string burst;
        for (unsigned number = 0; number < 200; ++number) burst += length_prefixed(be32(number));
        (co_await pair.near.send(burst)).value();
        auto first = co_await far.recv();
        CHECK(first->text() == be32(0));
        const std::uint64_t before = metrics().passes;
        unsigned wrong = 0;
        for (unsigned number = 1; number < 200; ++number) {
            auto message = co_await far.recv();
            if (!message || message->text() != be32(number)) ++wrong;
        }
        CHECK(wrong == 0);
        CHECK(metrics().passes == before);
    });
}

TEST_CASE("messages of all sizes arrive whole, over many receive buffers") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        constexpr std::size_t max = 1'000'000;
        Framed<LengthPrefixed> near(pair.near, LengthPrefixed(max));
        Framed<LengthPrefixed> far(pair.far, LengthPrefixed(max));
        const std::vector<std::size_t> sizes({0, 1, 5, 100, 4092, 4096, 16379, 16380, 16381, 40'000, 3, 200'000, 65'536,
                                              999'999, max, 7, 12'000, 12'000});
        Scope scope;
        scope.spawn(
            [](Framed<LengthPrefixed>* to, const std::vector<std::size_t>* all) -> Task<> {
                for (std::size_t round = 0; round < 3; ++round)
                    for (const std::size_t size : *all) {
                        const std::string body(size, static_cast<char>('a' + size % 26));
                        const std::size_t sent = (co_await to->send(body)).value();
                        CHECK(sent == size + 4);
                    }
            },
            &near, &sizes);
        unsigned wrong = 0;
        for (std::size_t round = 0; round < 3; ++round)
            for (const std::size_t size : sizes) {
                auto message = co_await far.recv().within(20s);
                REQUIRE(message);
                const std::string body(size, static_cast<char>('a' + size % 26));
                if (message->text() != body) ++wrong;
            }
        CHECK(wrong == 0);
        co_await scope.join();
    });
}

TEST_CASE("a message above the limit is not sent, and the stream goes on") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> near(pair.near, LengthPrefixed(10));
        auto large = co_await near.send("eleven bytes"sv).within(1s);
        CHECK(large.error() == Errc::message_too_large);
        CHECK(*(co_await near.send("ten bytes!")) == 14);
        Framed<Lines> lines(pair.near, Lines(10, LineEnding::lf));
        auto two = co_await lines.send("a\nb");
        CHECK(two.error() == Errc::malformed_frame);
        auto altered = co_await lines.send("a\r");
        CHECK(altered.error() == Errc::malformed_frame);
        CHECK(*(co_await lines.send("line")) == 5);
        Framed<TcpMotorFrame> motor(pair.near, TcpMotorFrame(10));
        auto seven = co_await motor.send("seven b");
        CHECK(seven.error() == Errc::message_too_large);
        CHECK(*(co_await motor.send("six by")) == 10);
        std::array<std::byte, 29> raw{};
        (co_await pair.far.recv_exact(raw)).value();
        CHECK(as_text(raw) == length_prefixed("ten bytes!") + "line\n" + native32(10) + "six by");
    });
}

TEST_CASE("messages of several senders, framed and not, stay whole and in the order of the calls") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        Framed<LengthPrefixed> near(pair.near);
        Framed<LengthPrefixed> far(pair.far);
        Scope scope;
        for (unsigned sender = 0; sender < 8; ++sender)
            scope.spawn(
                [](Framed<LengthPrefixed>* framed, Link* link, unsigned self) -> Task<> {
                    for (unsigned number = 0; number < 50; ++number) {
                        const std::string message = be32(self) + be32(number) + std::string(self * 997, 's');
                        if (self == 7)
                            (co_await link->send(length_prefixed(message))).value();
                        else
                            (co_await framed->send(message)).value();
                    }
                },
                &near, &pair.near, sender);
        std::array<unsigned, 8> expected{};
        unsigned wrong = 0;
        for (unsigned count = 0; count < 400; ++count) {
            auto message = co_await far.recv().within(20s);
            REQUIRE(message);
            ByteReader reader(message->bytes());
            const auto sender = reader.read_be<std::uint32_t>();
            REQUIRE(sender < 8);
            if (reader.read_be<std::uint32_t>() != expected[sender]++ || reader.size() != sender * 997) ++wrong;
        }
        CHECK(wrong == 0);
        co_await scope.join();
    });
}

TEST_CASE("what is behind the last message can be taken, and the Link goes on behind it") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        (co_await pair.near.send("upgrade\r\nraw bytes")).value();
        Framed<Lines> framed(pair.far);
        auto line = co_await framed.recv();
        CHECK(line->text() == "upgrade");
        std::string rest = framed.take_rest().to_string();
        if (!misbehaves()) CHECK(rest.size() == 9);
        rest += co_await recv_text(&pair.far, 9 - rest.size());
        CHECK(rest == "raw bytes");
        auto none = co_await framed.recv();
        CHECK(none.error() == Errc::closed);
        (co_await pair.near.send("more")).value();
        CHECK(co_await recv_text(&pair.far, 4) == "more");
        Framed<Lines> again(pair.far);
        const Chunk nothing = again.take_rest();
        CHECK(nothing.empty());
    });
}

TEST_CASE("a Framed can be moved between receives, and so can its Link") {
    in_runtime([]() -> Task<> {
        auto pair = co_await connected();
        const std::string stream = length_prefixed("one") + length_prefixed("two") + be32(5) + "th";
        (co_await pair.near.send(stream)).value();
        Framed<LengthPrefixed> framed(pair.far);
        auto one = co_await framed.recv();
        CHECK(one->text() == "one");
        Link elsewhere = std::move(pair.far);
        Framed<LengthPrefixed> moved = std::move(framed);
        auto two = co_await moved.recv();
        CHECK(two->text() == "two");
        auto late = co_await moved.recv().within(5ms);
        CHECK(late.error() == Errc::timed_out);
        Framed<LengthPrefixed> again = std::move(moved);
        (co_await pair.near.send("ree")).value();
        auto three = co_await again.recv();
        CHECK(three->text() == "three");
    });
}

TEST_CASE("a receive is used from another worker than the Link's home, a burst without going there again") {
    RuntimeOptions options = one_worker();
    options.workers = 2;
    in_runtime_with(options, []() -> Task<> {
        auto pair = co_await connected();
        const unsigned other = 1 - pair.far.home();
        Scope scope;
        scope.spawn_on(
            other,
            [](Link* link) -> Task<> {
                Framed<LengthPrefixed> framed(*link);
                for (unsigned number = 0; number < 300; ++number) {
                    auto message = co_await framed.recv();
                    CHECK(message->text() == be32(number));
                    CHECK(Runtime::current_worker() != link->home());
                    (co_await framed.send(*message)).value();
                }
            },
            &pair.far);
        Framed<LengthPrefixed> near(pair.near);
        std::string burst;
        for (unsigned number = 0; number < 300; ++number) burst += length_prefixed(be32(number));
        (co_await pair.near.send(burst)).value();
        for (unsigned number = 0; number < 300; ++number) {
            auto back = co_await near.recv();
            CHECK(back->text() == be32(number));
        }
        co_await scope.join();
    });
}
