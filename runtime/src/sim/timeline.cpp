// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/sim/timeline.hpp"

#include <algorithm>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

// ---- the heap: binary, of entries that carry what they are compared by

void Timeline::put(std::size_t position, const Entry& entry) noexcept {
    heap_[position] = entry;
    entry.event->position_ = position;
}

void Timeline::sift_up(std::size_t position, const Entry& entry) noexcept {
    while (position > 0) {
        const std::size_t parent = (position - 1) / 2;
        if (!entry.before(heap_[parent])) break;
        put(position, heap_[parent]);
        position = parent;
    }
    put(position, entry);
}

void Timeline::sift_down(std::size_t position, const Entry& entry) noexcept {
    for (;;) {
        std::size_t child = 2 * position + 1;
        if (child >= heap_.size()) break;
        if (child + 1 < heap_.size() && heap_[child + 1].before(heap_[child])) ++child;
        if (!heap_[child].before(entry)) break;
        put(position, heap_[child]);
        position = child;
    }
    put(position, entry);
}

void Timeline::schedule(TimedEvent& event, Instant when) {
    cancel(event);
    const Entry entry{std::max(when, now_), order_++, &event};
    heap_.push_back(entry);
    sift_up(heap_.size() - 1, entry);
}

void Timeline::cancel(TimedEvent& event) noexcept {
    if (!event.scheduled()) return;
    const std::size_t hole = std::exchange(event.position_, TimedEvent::none);
    const Entry last = heap_.back();
    heap_.pop_back();
    if (hole == heap_.size()) return;
    if (hole > 0 && last.before(heap_[(hole - 1) / 2]))
        sift_up(hole, last);
    else
        sift_down(hole, last);
}

void Timeline::advance_to(Instant when) {
    while (!heap_.empty() && heap_.front().when <= when) {
        TimedEvent& event = *heap_.front().event;
        now_ = std::max(now_, heap_.front().when);
        cancel(event);
        ++happened_;
        event.fire_(event);
    }
    now_ = std::max(now_, when);
}

// ---- calls

CallId Timeline::call_at(Instant when, std::function<void()> call) {
    if (free_calls_.empty()) {
        free_calls_.push_back(static_cast<std::uint32_t>(calls_.size()));
        calls_.push_back(std::make_unique<Call>(*this));
        calls_.back()->index = free_calls_.back();
    }
    Call& made = *calls_[free_calls_.back()];
    free_calls_.pop_back();
    made.call = std::move(call);
    schedule(made, when);
    return {made.index, made.generation};
}

bool Timeline::cancel(CallId id) noexcept {
    if (id.index >= calls_.size()) return false;
    Call& call = *calls_[id.index];
    if (call.generation != id.generation || !call.scheduled()) return false;
    cancel(static_cast<TimedEvent&>(call));
    call.call = nullptr;
    ++call.generation;
    free_calls_.push_back(id.index);
    return true;
}

void Timeline::Call::run(TimedEvent& event) noexcept {
    auto& self = static_cast<Call&>(event);
    const std::function<void()> call = std::exchange(self.call, nullptr);
    ++self.generation;
    self.timeline->free_calls_.push_back(self.index);  // the call may make others
    call();
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
