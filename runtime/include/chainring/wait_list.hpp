// SPDX-License-Identifier: BSL-1.0
// WaitList: a first-in-first-out list of waits, intrusive, guarded by one mutex that is held for a few stores. It says
// who is granted and when, and nothing of how a task suspends or is woken; the primitives of sync are small state
// machines on it (SemaphoreCore and others). Not for users.
//
// The states of an entry:
//   1 apart     not in a list; its owner may look whether it has to wait at all
//   2 listed    push(), with the mutex held: from here on grant(), limit and cancel contend for its claim word
//   3 granted   grant() has taken it off and won its claim. It is handed what it waited for under the mutex, and woken
//               after the mutex is released. The entry does not touch the list any more.
//   4 leaving   its limit or cancel has won its claim, without the mutex. leave() takes the mutex to take it off; until
//               then it may still be listed, and a grant that comes across it takes it off, counts it as leaving, and
//               goes on to the next.
//   5 left      leave() has had the mutex. It was granted nothing.
//
// If cancel wins (2 -> 4): nothing is granted to the entry, so nothing is lost, and the next in line loses no turn. If
// the grant wins (2 -> 3): limit and cancel find the claim taken and touch nothing; the entry gets what it was granted.
//
// The end of a list: grant() may have emptied it, and those whom it let through may destroy it, while an entry that
// lost its turn is still between 4 and 5. gone_quiet() says whether there is none: whoever destroys a list waits for
// that.
//
// Entry is a WaitLinks<Entry> with try_claim(Wake) and, for an owner, `task`. Written over `Mutex` and the entry's
// claim word, so that a model checker drives the very same code.
#pragma once

#include <chainring/claim.hpp>
#include <chainring/config.hpp>

#include <cstddef>
#include <mutex>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <class E, class M, class Task>
class WaitList;
template <class E>
class GrantList;

// An entry's place: in the list of those who wait (guarded by its mutex), or of those granted (the granter's).
template <class E>
class WaitLinks {
    template <class, class, class>
    friend class WaitList;
    friend class GrantList<E>;
    E* next_ = nullptr;
    E* previous_ = nullptr;
    bool listed_ = false;
};

// Entries that were granted under the mutex, to be woken without it, in order. One thread's.
template <class E>
class GrantList {
public:
    void add(E& entry) noexcept {
        Links& links = entry;
        links.next_ = nullptr;
        (last_ ? static_cast<Links*>(last_)->next_ : first_) = &entry;
        last_ = &entry;
    }
    // The oldest, or null. From its claim on only its wake touches an entry, so it is there until that has run; it is
    // off this list before.
    E* take() noexcept {
        E* entry = first_;
        if (!entry) return nullptr;
        first_ = static_cast<Links*>(entry)->next_;
        if (!first_) last_ = nullptr;
        return entry;
    }

private:
    using Links = WaitLinks<E>;
    E* first_ = nullptr;
    E* last_ = nullptr;
};

template <class E, class M, class Task = void>
class WaitList {
public:
    using Entry = E;
    using Mutex = M;
    using Owner = Task;
    using Grants = GrantList<E>;

    WaitList() noexcept : mutex_(own_mutex_) {}
    // Shares a mutex with another list of the same primitive, which outlives it.
    explicit WaitList(Mutex& shared) noexcept : mutex_(shared) {}
    WaitList(const WaitList&) = delete;
    WaitList& operator=(const WaitList&) = delete;

    Mutex& mutex() const noexcept { return mutex_; }

    // With the mutex held:

    bool empty() const noexcept { return first_ == nullptr; }
    Entry* front() const noexcept { return first_; }

    // 1 -> 2. The entry is complete; as soon as the mutex is released it may have been granted and woken.
    void push(Entry& entry) noexcept {
        Links& links = entry;
        links.listed_ = true;
        links.next_ = nullptr;
        links.previous_ = last_;
        (last_ ? links_of(*last_).next_ : first_) = &entry;
        last_ = &entry;
    }

    // 2 -> 3. The oldest entry whose claim is won; null when there is none. It is to be handed what it waits for, or,
    // with Wake::closed, nothing, and woken.
    Entry* grant(Wake why = Wake::completed) noexcept {
        while (Entry* entry = first_) {
            unlist(*entry);
            if (entry->try_claim(why)) return entry;
            ++leaving_;
        }
        return nullptr;
    }

    void grant_all(Grants& granted, Wake why = Wake::completed) noexcept {
        while (Entry* entry = grant(why)) granted.add(*entry);
    }

    // The task that holds what the others wait for, where the primitive knows one (Mutex): a hint for reports. To be
    // looked up among the tasks that live, never followed: what it holds may have been moved out of a task that has
    // ended since.
    Task* owner() const noexcept { return owner_; }
    void set_owner(Task* task) noexcept { owner_ = task; }

    // Without the mutex:

    // 4 -> 5, for an entry that has won its own claim, and for no other: the list of one that was granted may be gone.
    // Afterwards this one may be gone, too.
    void leave(Entry& entry) noexcept {
        const std::lock_guard lock(mutex_);
        if (links_of(entry).listed_)
            unlist(entry);
        else
            --leaving_;  // a grant has come across it
    }

    // Whether no entry is leaving. A list whose waits have all been granted or have left, and that is quiet, is touched
    // by nobody any more.
    bool gone_quiet() const noexcept {
        const std::lock_guard lock(mutex_);
        return leaving_ == 0;
    }

private:
    using Links = WaitLinks<E>;
    static Links& links_of(Entry& entry) noexcept { return entry; }

    void unlist(Entry& entry) noexcept {
        Links& links = entry;
        links.listed_ = false;
        (links.previous_ ? links_of(*links.previous_).next_ : first_) = links.next_;
        (links.next_ ? links_of(*links.next_).previous_ : last_) = links.previous_;
    }

    Mutex own_mutex_;
    Mutex& mutex_;
    Entry* first_ = nullptr;
    Entry* last_ = nullptr;
    Task* owner_ = nullptr;
    std::size_t leaving_ = 0;  // entries in state 4 that are not listed any more
};

}  // namespace detail
CHAINRING_END_NAMESPACE
