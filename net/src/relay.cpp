// SPDX-License-Identifier: BSL-1.0
#include <chainring/relay.hpp>
#include <chainring/scope.hpp>

#include <atomic>
#include <cstddef>
#include <string_view>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

namespace {

// Who owns what, and where it runs. A Direction lives in the frame of relay(), which joins both of them. Each direction
// is a task that goes to `from`'s home to receive and to `to`'s home to send, and goes on from there. A received Chunk
// is pass_on()'s until forward() has taken it: from then on the Link's (link_forward.cpp). An empty send owns no bytes;
// it waits in its own frame. What ends each wait: data or room, the end or reset of that Link, or a cancel, which
// undoes nothing that was handed over. A cancel that wins is an error like any other, so copy() resets both Links, and
// what was still on its way is dropped with them.

// One direction; the two may run on different workers.
struct Direction {
    Link* from;
    Link* to;
    TokenBucket* limit;
    Direction* other = nullptr;
    std::uint64_t bytes = 0;
    std::error_code error{};
    std::atomic<bool> ended{false};  // its peer has sent its last: nobody receives from there any more
};

// Whether all that was forwarded has gone: an empty send waits for it.
Task<std::error_code> all_gone(Link* to) {
    co_return (co_await to->send(std::string_view())).error();
}

Task<std::error_code> pass_on(Direction* way) {
    for (;;) {
        auto chunk = co_await way->from->recv().ignore_drain().in_short_bursts(way->limit != nullptr);
        if (!chunk) co_return chunk.error();
        const std::size_t size = chunk->size();
        auto passed_on = co_await way->to->forward(std::move(*chunk));
        if (!passed_on) co_return passed_on.error();
        // That it has not gone after all is told by the other direction's receive. If that has ended, it is waited for;
        // seq_cst: here, or in the other direction's end(), or in both.
        if (way->other->ended.load(std::memory_order_seq_cst)) {
            const std::error_code failed = co_await all_gone(way->to);
            if (failed) co_return failed;
        }
        way->bytes += size;
        if (!way->limit) continue;
        auto paid = co_await way->limit->take(size);
        if (!paid) co_return paid.error();
    }
}

// The end of the stream is passed on. What the other direction has forwarded by now has to be waited for here.
Task<std::error_code> end(Direction* way) {
    way->ended.store(true, std::memory_order_seq_cst);
    const std::error_code failed = (co_await way->to->shutdown_write()).error();
    if (failed) co_return failed;
    const std::error_code lost = co_await all_gone(way->from);
    // If that one is at its end, too, it tells its failures itself, and nothing more is sent there.
    co_return way->other->ended.load(std::memory_order_seq_cst) ? std::error_code() : lost;
}

// An error ends both Links, and the other direction as well, whatever it waits for. `failed`: the direction that met
// one first.
Task<> copy(Direction* way, std::atomic<Direction*>* failed, Scope* both) {
    std::error_code error = co_await pass_on(way);
    if (error == Errc::eof) error = co_await end(way);
    if (!error) co_return;
    way->error = error;
    Direction* none = nullptr;
    failed->compare_exchange_strong(none, way, std::memory_order_acq_rel);  // read after the join
    way->from->abort();
    way->to->abort();
    both->cancel();
}

}  // namespace

Task<RelayOutcome> relay(Link& first, Link& second, RelayLimits limits) {
    Direction forward{&first, &second, limits.forward};
    Direction backward{&second, &first, limits.backward};
    forward.other = &backward;
    backward.other = &forward;
    std::atomic<Direction*> failed{nullptr};
    Scope scope;
    scope.spawn_all([&] {
        scope.spawn(copy, &forward, &failed, &scope);
        scope.spawn(copy, &backward, &failed, &scope);
    });
    co_await scope.join();
    RelayOutcome outcome;
    outcome.forward = forward.bytes;
    outcome.backward = backward.bytes;
    if (const Direction* ended = failed.load(std::memory_order_acquire)) outcome.error = ended->error;
    co_return outcome;
}

CHAINRING_END_NAMESPACE
