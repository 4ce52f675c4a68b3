// SPDX-License-Identifier: BSL-1.0
// What the promises on memory stand on: no allocation per message, little memory per idle Link, lent buffers that stuck
// peers cannot hold. A program of its own, for it replaces operator new to count.
#include "net/src/link_state.hpp"
#include "tests/unit/support.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <malloc.h>
#include <new>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

using namespace support;

namespace {
std::atomic<std::uint64_t> allocations{0};
std::atomic<std::int64_t> allocated_bytes{0};
}  // namespace

// Neither is inlined: GCC 12 would take one of the two for a mismatch of the other.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
    void* memory = std::malloc(bytes);
    if (!memory) throw std::bad_alloc();
    allocations.fetch_add(1, std::memory_order_relaxed);
    allocated_bytes.fetch_add(static_cast<std::int64_t>(malloc_usable_size(memory)), std::memory_order_relaxed);
    return memory;
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    try {
        return operator new(bytes);
    } catch (...) {
        return nullptr;
    }
}
[[gnu::noinline]] void operator delete(void* memory) noexcept {
    if (memory)
        allocated_bytes.fetch_sub(static_cast<std::int64_t>(malloc_usable_size(memory)), std::memory_order_relaxed);
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    operator delete(memory);
}

namespace {

Task<> echo(Link link) {
    while (auto chunk = co_await link.recv().within(10min)) {
        auto sent = co_await link.send(std::move(*chunk));
        if (!sent) break;
    }
}

Task<> serve_echo(Listener* listener) {
    co_await listener->serve(echo);
}

Task<> ping(Link* link, int rounds, std::string_view message) {
    std::byte back[4096];
    for (int round = 0; round < rounds; ++round) {
        (co_await link->send(message)).value();
        (co_await link->recv_exact(std::span(back).first(message.size()))).value();
    }
}

std::string unix_name() {
    static int last = 0;
    return "unix:@chainring-memory-" + std::to_string(getpid()) + "-" + std::to_string(++last);
}

std::size_t descriptor_limit() {
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return static_cast<std::size_t>(limit.rlim_cur);
}

std::size_t resident_bytes() {
    std::size_t pages = 0;
    std::FILE* file = std::fopen("/proc/self/statm", "r");
    if (std::fscanf(file, "%*u %zu", &pages) != 1) pages = 0;
    std::fclose(file);
    return pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

}  // namespace

TEST_CASE("a steady echo allocates nothing per message") {
    in_runtime([]() -> Task<> {
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Scope serving;
        serving.spawn(serve_echo, &listener);
        auto link = (co_await Link::connect(listener.address())).value();
        const std::string message(1000, 'm');
        co_await ping(&link, 100, message);
        const std::uint64_t before = allocations;
        co_await ping(&link, 5000, message);
        const std::uint64_t made = allocations - before;
        MESSAGE("allocations in 5000 round trips: " << made);
#ifndef CHAINRING_NO_RECYCLING
        CHECK(made <= 2);  // the frame of ping itself
#endif
        link.abort();
        serving.cancel();
        co_await serving.join();
    });
}

TEST_CASE("bursts of framed messages allocate per receive buffer at most, not per message") {
    in_runtime([]() -> Task<> {
        constexpr unsigned messages = 1000;
        auto pair = co_await connected();
        Framed<Lines> framed(pair.far);
        std::string burst;
        for (unsigned number = 0; number < messages; ++number) burst += "a line of thirty-one bytes...\r\n";
        std::uint64_t before = 0;
        for (int round = 0; round < 20; ++round) {
            if (round == 10) before = allocations;
            (co_await pair.near.send(burst)).value();
            for (unsigned number = 0; number < messages; ++number) (co_await framed.recv()).value();
        }
        const std::uint64_t made = allocations - before;
        MESSAGE("allocations for " << 10 * messages << " messages: " << made);
#ifndef CHAINRING_NO_RECYCLING
        CHECK(made <= 10 * 16);
#endif
        // One at a time, to a receive that waits: nothing at all.
        Scope echoing;
        echoing.spawn(
            [](Framed<Lines>* lines) -> Task<> {
                while (auto line = co_await lines->recv()) (co_await lines->send(line->bytes())).value();
            },
            &framed);
        co_await ping(&pair.near, 100, "ping\r\n");
        before = allocations;
        co_await ping(&pair.near, 1000, "ping\r\n");
        CHECK(allocations - before <= 2);  // the frame of ping itself
        echoing.cancel();
        co_await echoing.join();
    });
}

TEST_CASE("a suspended echo coroutine with its Link holds at most 1 KiB, also after it has carried 16 KiB" *
          not_simulated()) {
    in_runtime([]() -> Task<> {
        constexpr std::size_t count = 2000;
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Scope serving;
        serving.spawn(serve_echo, &listener);
        std::vector<int> clients(count, -1);  // plain descriptors: all that is measured belongs to the server
        const std::string message(16384, 'm');
        std::string back(message.size(), '\0');
        const auto talk = [&](int& fd) {
            fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            const Address& address = listener.address();
            REQUIRE(connect(fd, static_cast<const sockaddr*>(address.data()), static_cast<socklen_t>(address.size())) ==
                    0);
            REQUIRE(write(fd, message.data(), message.size()) == static_cast<ssize_t>(message.size()));
        };
        const auto hear = [&](int fd) {
            return recv(fd, back.data(), back.size(), MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC);
        };
        for (std::size_t client = 0; client < 3; ++client) {  // what is made once is made now
            talk(clients[client]);
            while (hear(clients[client]) < static_cast<ssize_t>(message.size())) co_await sleep_for(50us);
        }
        const std::int64_t before = allocated_bytes;
        for (std::size_t client = 3; client < count; ++client) {
            talk(clients[client]);
            while (hear(clients[client]) < static_cast<ssize_t>(message.size())) co_await sleep_for(50us);
        }
        co_await sleep_for(1ms);
        const std::int64_t each = (allocated_bytes - before) / static_cast<std::int64_t>(count - 3);
        MESSAGE("user memory of an idle echo connection: " << each << " bytes");
#ifndef CHAINRING_NO_RECYCLING
        CHECK(each <= 1024);
#endif
        CHECK(metrics().links == count);
        CHECK(metrics().buffers_lent == 0);
        for (const int fd : clients) close(fd);
        serving.cancel();
        co_await serving.join();
    });
}

TEST_CASE("a thousand peers that push and never read hold neither the buffers nor the server's attention" *
          not_simulated()) {
    in_runtime([]() -> Task<> {
        constexpr int count = 1000;
        auto listener = (co_await Listener::bind("127.0.0.1:0")).value();
        Scope serving;
        serving.spawn(serve_echo, &listener);
        const std::string flood(4 << 20, 'f');
        std::vector<Link> stuck;
        for (int client = 0; client < count; ++client)
            stuck.push_back((co_await Link::connect(listener.address())).value());
        const std::int64_t before = allocated_bytes;
        Scope pushing;
        for (Link& link : stuck)
            pushing.spawn([](Link* to, const std::string* data) -> Task<> { (void)co_await to->send(*data); }, &link,
                          &flood);
        // Until nothing moves any more.
        std::uint64_t last = 0;
        for (int quiet = 0; quiet < 5;) {
            co_await sleep_for(20ms);
            const std::uint64_t completions = metrics().completions;
            quiet = completions - last < 5 ? quiet + 1 : 0;
            last = completions;
        }
        CHECK(metrics().buffers_lent < 256 * 3 / 4 + 1);
        const std::int64_t held = allocated_bytes - before;
        MESSAGE("bytes held for " << count << " stuck peers: " << held << ", buffers lent: " << metrics().buffers_lent);
        CHECK(held < std::int64_t{count} * 256 * 1024);
        // The live one beside them.
        auto link = (co_await Link::connect(listener.address())).value();
        const Instant start = now();
        const std::string message(4000, 'm');
        co_await ping(&link, 200, message);
        const auto each = (now() - start) / 200;
        MESSAGE("round trip beside them: " << std::chrono::duration_cast<std::chrono::microseconds>(each).count()
                                           << " us");
        CHECK(each < 20ms);
        for (Link& peer : stuck) peer.abort();
        co_await pushing.join();
        link.abort();
        serving.cancel();
        co_await serving.join();
    });
}

TEST_CASE("thousands of receivers share the bytes of each message") {
    in_runtime([]() -> Task<> {
        constexpr std::size_t size = 64 * 1024;
        constexpr std::size_t in_flight = 3;
        // Two descriptors for each.
        const std::size_t count = std::min<std::size_t>(5000, (descriptor_limit() - 200) / 2);
        auto listener = (co_await Listener::bind(unix_name())).value();
        std::vector<Link> near(count);
        std::vector<Link> far(count);
        LinkTable table;
        for (std::size_t link = 0; link < count; ++link) {
            near[link] = (co_await Link::connect(listener.address())).value();
            far[link] = (co_await listener.accept()).value();
            table.add(near[link]);
        }
        std::vector<std::byte> got(size);
        // Nothing was received yet, so that the receiving ends, which are here too, read nothing ahead.
        const std::int64_t before = allocated_bytes;
        for (std::size_t message = 0; message < in_flight; ++message)
            CHECK(table.post_all(Payload(std::string(size, 'm'))) == count);
        const std::int64_t posted = allocated_bytes - before;
        co_await passes(2);
        const std::int64_t being_sent = allocated_bytes - before;
        MESSAGE(count << " receivers, " << in_flight << " messages of 64 KiB: " << posted << " bytes when posted, "
                      << being_sent << " while being sent");
        // The payloads, a unit for each receiver of each, and a list of pieces for each receiver.
        CHECK(posted < static_cast<std::int64_t>(in_flight * (size + 1000 + count * 80)));
        // The simulated network keeps what it has taken in this process.
        if (wanted_backend() != "sim")
            CHECK(being_sent < static_cast<std::int64_t>(in_flight * (size + 1000 + count * 80) + count * 300));
        for (Link& link : far)
            for (std::size_t message = 0; message < in_flight; ++message) (co_await link.recv_exact(got)).value();
    });
}

TEST_CASE("Links that come and go through a table leave nothing behind") {
    in_runtime([]() -> Task<> {
        const char* wanted = std::getenv("CHAINRING_LINKS");  // a million is the full run
        const int count = wanted ? std::atoi(wanted) : 5000;
        auto listener = (co_await Listener::bind(unix_name())).value();
        LinkTable table;
        LinkId stale;
        std::int64_t before = 0;
        std::size_t resident = 0;
        for (int link = 0; link < count; ++link) {
            if (link == count / 5) {
                before = allocated_bytes;
                resident = resident_bytes();
            }
            auto near = (co_await Link::connect(listener.address())).value();
            auto far = (co_await listener.accept()).value();
            const LinkId id = table.add(near);
            CHECK(!table.find(stale));
            table.post_all(Payload(std::string("hello")));
            std::array<std::byte, 5> hello{};
            (co_await far.recv_exact(hello)).value();
            if (link % 3 == 0) near.abort();
            table.remove(id);
            stale = id;
        }
        co_await passes(3);
        const std::int64_t grown = allocated_bytes - before;
        const auto resident_grown = static_cast<std::int64_t>(resident_bytes() - resident);
        MESSAGE(count << " Links: heap grew by " << grown << " bytes, resident memory by " << resident_grown);
        CHECK(grown < 16 * 1024);
        CHECK(resident_grown < 1 << 20);
    });
}

TEST_CASE("what a peak of coroutine frames leaves is there for the next one, and goes back while nobody wants it") {
    ManualClock clock;
    RuntimeOptions options;
    options.workers = 1;
    options.clock = &clock;
    in_runtime_with(options, [&clock]() -> Task<> {
        constexpr std::size_t bytes = 400;
        std::vector<void*> frames(100'000);
        const std::int64_t before = allocated_bytes;
        for (void*& frame : frames) frame = detail::allocate_frame(bytes);
        for (void* frame : frames) detail::free_frame(frame, bytes);
#ifndef CHAINRING_NO_RECYCLING
        CHECK(allocated_bytes - before > 30 << 20);
        const std::uint64_t made = allocations;
        for (void*& frame : frames) frame = detail::allocate_frame(bytes);
        CHECK(allocations == made);
        for (void* frame : frames) detail::free_frame(frame, bytes);
#endif
        for (int second = 0; second < 100; ++second) {
            clock.advance(2s);
            co_await passes(2);
        }
        MESSAGE("after some minutes " << allocated_bytes - before << " bytes are kept");
        CHECK(allocated_bytes - before < 1 << 20);
    });
}

TEST_CASE("the sizes of what lives per connection") {
    MESSAGE("RecvOp " << sizeof(RecvOp) << ", SendOp " << sizeof(SendOp) << ", Chunk " << sizeof(Chunk)
                      << ", TaskContext " << sizeof(detail::TaskContext) << ", LinkState "
                      << sizeof(detail::LinkState));
    CHECK(sizeof(RecvOp) <= 72);
    CHECK(sizeof(SendOp) <= 120);
    MESSAGE("FramedRecvOp " << sizeof(FramedRecvOp) << ", FramedSendOp of 4 bytes " << sizeof(FramedSendOp<4, 0>)
                            << ", Framed " << sizeof(Framed<LengthPrefixed>));
    CHECK(sizeof(detail::LinkState) <= 384);
}
