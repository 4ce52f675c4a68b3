// SPDX-License-Identifier: BSL-1.0
#include <chainring/relay.hpp>
#include <chainring/scope.hpp>

#include <atomic>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

namespace {

// One direction; the two may run on different workers.
struct Direction {
    Link* from;
    Link* to;
    TokenBucket* limit;
    std::uint64_t bytes = 0;
    std::error_code error;
};

// An error ends both Links, and the other direction as well, whatever it waits for. `failed`: the direction that met
// one first.
Task<> copy(Direction* way, std::atomic<Direction*>* failed, Scope* both) {
    std::error_code error;
    for (;;) {
        auto chunk = co_await way->from->recv().ignore_drain().in_short_bursts(way->limit != nullptr);
        if (!chunk) {
            error = chunk.error();
            break;
        }
        const std::size_t size = chunk->size();
        // What is found later not to have gone is told by the next of these, or by the other direction's receive.
        auto passed_on = co_await way->to->forward(std::move(*chunk));
        if (!passed_on) {
            error = passed_on.error();
            break;
        }
        way->bytes += size;
        if (!way->limit) continue;
        auto paid = co_await way->limit->take(size);
        if (!paid) {
            error = paid.error();
            break;
        }
    }
    if (error == Errc::eof) error = (co_await way->to->shutdown_write()).error();
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
    Direction forward{&first, &second, limits.forward, 0, {}};
    Direction backward{&second, &first, limits.backward, 0, {}};
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
