// SPDX-License-Identifier: BSL-1.0
// ChannelCore: which value goes to whom, and when. How a task suspends is Channel's business. Not for users.
//
// A ring of `capacity` values and two lists, of senders and of receivers, under one mutex:
//   1 empty    no value, no sender waits: recv lists its entry (WaitList, states 2 to 5); send hands its value to the
//              oldest receiver whose claim it wins, or puts it into the ring
//   2 partly   nobody waits: send puts, recv takes the oldest
//   3 full     no receiver waits: send lists its entry, with its value; recv takes the oldest value and lets the oldest
//              sender whose claim it wins put its own
//   4 closed   close() has refused every entry of both lists; send is refused, recv takes what is there and is then
//              refused. The ring only empties from here on.
// A value moves only after its entry's claim was won, and under the mutex: it is in exactly one place at any time.
//
// If cancel wins over a sender: its value was not taken, stays in the entry and goes with it. Over a receiver: the
// value goes to the next one, or into the ring. If it loses: the value was taken, or was received; both stand.
//
// Written over List, a WaitList: in production WaitQueue. Entries are ChannelWait<T, List::Entry>.
#pragma once

#include <chainring/config.hpp>
#include <chainring/wait_list.hpp>

#include <cstddef>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// A sender's holds the value that is to be taken; a receiver's none, until it is handed one.
template <class T, class Entry>
struct ChannelWait : Entry {
    using Entry::Entry;
    std::optional<T> value;
};

template <class T, class List>
class ChannelCore {
public:
    using Entry = ChannelWait<T, typename List::Entry>;
    using Grants = typename List::Grants;

    explicit ChannelCore(std::size_t capacity) : ring_(capacity), receivers_(senders_.mutex()) {}

    // Of send and recv: completed at once; closed, refused; none: the entry is listed, and `begin` has made it
    // complete, under the mutex. The caller wakes who was granted, and touches the core no more.
    template <class Begin>
    Wake send(Entry& entry, Grants& granted, Begin&& begin) noexcept {
        const std::lock_guard lock(mutex());
        if (closed_) return Wake::closed;
        if (put(*entry.value, granted)) return Wake::completed;
        begin();
        senders_.push(entry);
        return Wake::none;
    }

    template <class Begin>
    Wake recv(Entry& entry, Grants& granted, Begin&& begin) noexcept {
        const std::lock_guard lock(mutex());
        get(entry.value, granted);
        if (entry.value) return Wake::completed;
        if (closed_) return Wake::closed;
        begin();
        receivers_.push(entry);
        return Wake::none;
    }

    // False: the value is as it was.
    bool try_send(T& value, Grants& granted) noexcept {
        const std::lock_guard lock(mutex());
        return !closed_ && put(value, granted);
    }

    // What to say when it did not get a value: closed when there will be none, else none.
    Wake try_recv(std::optional<T>& value, Grants& granted) noexcept {
        const std::lock_guard lock(mutex());
        get(value, granted);
        if (value) return Wake::completed;
        return closed_ ? Wake::closed : Wake::none;
    }

    void close(Grants& granted) noexcept {
        const std::lock_guard lock(mutex());
        closed_ = true;
        senders_.grant_all(granted, Wake::closed);
        receivers_.grant_all(granted, Wake::closed);
    }

    bool is_closed() const noexcept {
        const std::lock_guard lock(mutex());
        return closed_;
    }
    std::size_t size() const noexcept {
        const std::lock_guard lock(mutex());
        return count_;
    }
    std::size_t capacity() const noexcept { return ring_.size(); }

    List& senders() noexcept { return senders_; }
    List& receivers() noexcept { return receivers_; }

private:
    auto& mutex() const noexcept { return senders_.mutex(); }

    // All below: with the mutex held.

    bool put(T& value, Grants& granted) noexcept {
        if (auto* receiver = receivers_.grant()) {
            static_cast<Entry*>(receiver)->value.emplace(std::move(value));
            granted.add(*receiver);
            return true;
        }
        if (count_ == ring_.size()) return false;
        store(value);
        return true;
    }

    // Into `value`, which is empty.
    void get(std::optional<T>& value, Grants& granted) noexcept {
        if (count_ == 0) return;
        value.emplace(std::move(*ring_[first_]));
        ring_[first_].reset();
        first_ = (first_ + 1) % ring_.size();
        --count_;
        if (auto* sender = senders_.grant()) {
            store(*static_cast<Entry*>(sender)->value);
            granted.add(*sender);
        }
    }

    void store(T& value) noexcept { ring_[(first_ + count_++) % ring_.size()].emplace(std::move(value)); }

    std::vector<std::optional<T>> ring_;  // count_ values from first_ on
    std::size_t first_ = 0;
    std::size_t count_ = 0;
    bool closed_ = false;
    List senders_;  // its mutex guards all of it
    List receivers_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
