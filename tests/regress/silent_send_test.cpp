// SPDX-License-Identifier: BSL-1.0
// Silent sends of the io_uring backend, without a worker: what may end them, and what is told of them when.
#include "runtime/src/backend.hpp"
#include "tests/unit/support.hpp"

#include <array>
#include <deque>
#include <memory>
#include <sys/socket.h>
#include <unistd.h>

using namespace support;

namespace {

auto on_uring() {
    return doctest::skip(wanted_backend() != "io_uring");
}

struct Ring {
    explicit Ring(unsigned buffers = 4) : backend(detail::make_uring_backend({buffers, 1024, 32, nullptr})) {
        backend->attach();
    }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;
    ~Ring() { backend->detach(); }
    void finish() const {
        for (int round = 0; round < 1000 && backend->in_flight() > 0; ++round) backend->poll();
        REQUIRE(backend->in_flight() == 0);
    }
    std::unique_ptr<detail::Backend> backend;
};

// Two ends of a stream; what is sent on `here` comes out of `there`.
struct Stream {
    Stream() {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
        here.fd = ends[0];
        there.fd = ends[1];
    }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;
    ~Stream() {
        ::close(here.fd);
        ::close(there.fd);
    }
    void fill() const {
        const std::string text(4096, 'x');
        while (::send(here.fd, text.data(), text.size(), MSG_DONTWAIT) > 0) {
        }
    }
    detail::Endpoint here, there;
};

struct Send : detail::SendOperation {
    explicit Send(detail::Endpoint& on) noexcept : SendOperation(&on) {
        data = "message";
        size = 7;
        nowait = true;
        complete = [](Operation& operation, detail::Completion completion) noexcept {
            auto& self = static_cast<Send&>(operation);
            ++self.times_told;
            self.result = completion.result;
            self.unawaited = nullptr;
        };
    }
    void submit_silently(detail::Backend& backend) {
        told = true;
        unawaited = &lent;
        backend.submit_unawaited(*this);
    }
    detail::Segment lent;
    int times_told = 0;
    int result = 0;
};

struct Receive : detail::Operation {
    explicit Receive(detail::Endpoint& on) noexcept : Operation(detail::OperationKind::recv, &on) {
        complete = [](Operation& operation, detail::Completion completion) noexcept {
            if (completion.segment) static_cast<Receive&>(operation).got = completion.segment;
        };
    }
    detail::Segment* got = nullptr;
};

}  // namespace

TEST_CASE("each silent send is told once: a failure, a part, or that it went" * on_uring()) {
    Ring ring;
    Stream open, full;
    full.fill();
    Send goes(open.here), fails(full.here), also_goes(open.here);
    for (int round = 1; round <= 3; ++round) {
        for (Send* send : {&goes, &fails, &also_goes}) send->submit_silently(*ring.backend);
        ring.backend->poll();
        for (const Send* send : {&goes, &fails, &also_goes}) CHECK(send->times_told == round);
        CHECK(goes.result == 7);
        CHECK(fails.result == -EAGAIN);
        CHECK(also_goes.result == 7);
        CHECK(ring.backend->in_flight() == 0);
    }
}

TEST_CASE("a part of a silent send is told: how much went" * on_uring()) {
    Ring ring;
    Stream stream;
    const std::string text(16'000'000, 'x');
    Send send(stream.here);
    send.data = text.data();
    send.size = static_cast<std::uint32_t>(text.size());
    send.submit_silently(*ring.backend);
    ring.backend->poll();
    CHECK(send.times_told == 1);
    REQUIRE(send.result > 0);
    CHECK(send.result < 16'000'000);
    std::string room(text.size(), '\0');
    std::size_t arrived = 0;
    for (;;) {
        const ssize_t part = ::recv(stream.there.fd, room.data(), room.size(), MSG_DONTWAIT);
        if (part <= 0) break;
        arrived += static_cast<std::size_t>(part);
    }
    CHECK(arrived == static_cast<std::size_t>(send.result));
}

// While the completion queue has overflowed, nothing is known of those that were not told; but the owner of one that
// was may send again, or be gone.
TEST_CASE("an overflow of the completion queue: a silent send that failed is let go, silence is not success" *
          on_uring()) {
    Ring ring;
    Stream open, full;
    full.fill();
    detail::Backend& backend = *ring.backend;
    auto gone = std::make_unique<Send>(full.here);
    Send fails_early(full.here), goes(open.here), fails_late(full.here), goes_late(open.here);
    fails_early.submit_silently(backend);
    gone->submit_silently(backend);
    goes.submit_silently(backend);
    std::deque<Send> flood;  // more than the completion queue holds
    for (int count = 0; count < 5000; ++count) backend.submit(flood.emplace_back(full.here));
    fails_late.submit_silently(backend);
    goes_late.submit_silently(backend);
    backend.poll();
    REQUIRE(flood.front().times_told == 1);
    REQUIRE(flood.back().times_told == 0);
    CHECK(fails_early.result == -EAGAIN);
    CHECK(gone->result == -EAGAIN);
    CHECK(fails_late.times_told == 0);
    gone.reset();
    fails_early.endpoint = &open.here;
    fails_early.submit_silently(backend);
    ring.finish();
    CHECK(fails_early.times_told == 2);
    CHECK(fails_early.result == 7);
    CHECK(goes.times_told == 1);
    CHECK(goes.result == 7);
    CHECK(fails_late.times_told == 1);
    CHECK(fails_late.result == -EAGAIN);
    CHECK(goes_late.times_told == 1);
    CHECK(goes_late.result == 7);
    for (const Send& send : flood) CHECK((send.times_told == 1 && send.result == -EAGAIN));
}

TEST_CASE("wait does not sleep on a silent send that something waits for" * on_uring()) {
    Ring ring;
    Stream open;
    Send send(open.here);
    const Instant start = ring.backend->now();
    send.submit_silently(*ring.backend);
    ring.backend->expect(send);
    ring.backend->wait(start + 5s);
    CHECK(send.times_told == 1);
    CHECK(ring.backend->now() - start < 4s);
}

TEST_CASE("wait does not sleep on the last quarter of the buffers; a send that nobody asks for gives its own back" *
          on_uring()) {
    Ring ring(4);
    detail::Backend& backend = *ring.backend;
    Stream open;
    std::deque<Stream> asking(4);
    std::deque<Receive> receives;
    for (Stream& stream : asking) {
        REQUIRE(::send(stream.there.fd, "question", 8, 0) == 8);
        backend.submit(receives.emplace_back(stream.here));
    }
    for (int round = 0; round < 1000 && backend.buffers().lent() < 4; ++round) backend.poll();
    REQUIRE(backend.buffers().scarce());
    Send answer(open.here);
    detail::Segment& lent = *receives.front().got;
    answer.data = lent.data;
    answer.size = lent.size;
    answer.unawaited = &lent;
    backend.submit_unawaited(answer);
    const Instant start = backend.now();
    backend.wait(start + 5s);
    CHECK(backend.now() - start < 4s);
    CHECK(answer.times_told == 0);
    CHECK(!answer.armed);
    CHECK(!answer.unawaited);
    CHECK(backend.buffers().lent() == 3);
    for (Receive& receive : receives) {
        if (&receive != &receives.front()) backend.buffers().take_back(*receive.got);
        backend.cancel(receive);
    }
    ring.finish();
}
