// SPDX-License-Identifier: BSL-1.0
// How a request to end a task reaches it, wherever it is: two small protocols over an atomics policy, driven by the
// model checker. Not for users.
//
// CancelRequest: whether the task was asked to end, and whether it waits. Asker and task meet as in Dekker's algorithm:
//
//   asker, any thread                    the task, on the worker where it begins to wait
//   1 asked = true (seq_cst RMW)         a waiting = true (seq_cst RMW), after the wait was published
//   2 waiting? (seq_cst) then post       b asked? (seq_cst) then post to itself
//
// Either 2 sees a or b sees 1, so a wait that begins about the time of the request is ended. A task that does not wait
// is not told: its next await looks at asked(). A wait ends on the worker where it began, always.
//
// CancelPost: where the task's one CancelNode is. The node goes into the inbox of the worker where the task waits; its
// handler looks at what was asked, while the task may have gone on, to another worker, or to its end.
//
//   none    -> posted   post(): the caller pushes the node
//   posted  -> seen     begin_look(): the handler is about to look
//   seen    -> again    post() by another asker meanwhile: the handler looks once more; the node is not pushed
//   seen    -> none     end_look(): done; from here on the task may be gone
//   seen, again -> posted   hand_on(): the task waits on another worker; the handler pushes the node there
//   posted, seen, again -> ended   end(): the task has ended; its frame is the handler's to free
#pragma once

#include <chainring/config.hpp>

#include <atomic>
#include <cstdint>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

template <template <class> class Atomic = std::atomic>
class CancelRequest {
public:
    // 1 and 2. True: the task waits, or did a moment ago: post to it.
    bool ask() noexcept {
        asked_.exchange(true, std::memory_order_seq_cst);
        return waiting_.load(std::memory_order_seq_cst);
    }
    // acquire: who acts on it sees what the asker did before.
    bool asked() const noexcept { return asked_.load(std::memory_order_acquire); }
    // 2, for what is asked of the wait itself (a stop token), after a seq_cst store of that.
    bool waiting() const noexcept { return waiting_.load(std::memory_order_seq_cst); }

    // a and b, on the task's worker. True: it was asked.
    bool begin_wait() noexcept {
        waiting_.exchange(true, std::memory_order_seq_cst);
        return asked_.load(std::memory_order_seq_cst);
    }
    void end_wait() noexcept { waiting_.store(false, std::memory_order_release); }

private:
    Atomic<bool> asked_{false};    // any thread sets it; never taken back
    Atomic<bool> waiting_{false};  // the task's worker writes, any thread reads
};

template <template <class> class Atomic = std::atomic>
class CancelPost {
public:
    // Whoever keeps the task alive meanwhile: true when the caller is to push the node. After a seq_cst store of what
    // is asked: the state is read after that, and the handler reads what is asked after its own write of the state.
    bool post() noexcept {
        State state = state_.load(std::memory_order_seq_cst);
        for (;;) {
            if (state == State::none) {
                if (state_.compare_exchange_weak(state, State::posted, std::memory_order_seq_cst)) return true;
            } else if (state == State::seen) {
                if (state_.compare_exchange_weak(state, State::again, std::memory_order_seq_cst)) return false;
            } else {
                return false;  // the handler has not looked yet
            }
        }
    }

    // The handler. False: the task has ended, and is the handler's to free.
    bool begin_look() noexcept {
        State state = state_.load(std::memory_order_seq_cst);
        while (state != State::ended)
            if (state_.compare_exchange_weak(state, State::seen, std::memory_order_seq_cst)) return true;
        return false;
    }
    // False: look again (begin_look tells why).
    bool end_look() noexcept {
        State expected = State::seen;
        return state_.compare_exchange_strong(expected, State::none, std::memory_order_seq_cst);
    }
    // False: the task has ended.
    bool hand_on() noexcept {
        State state = state_.load(std::memory_order_seq_cst);
        while (state != State::ended)
            if (state_.compare_exchange_weak(state, State::posted, std::memory_order_seq_cst)) return true;
        return false;
    }

    // The task's end, when no asker can reach it any more. True: free it; false: the handler will.
    bool end() noexcept {
        State state = state_.load(std::memory_order_seq_cst);
        while (state != State::none)
            if (state_.compare_exchange_weak(state, State::ended, std::memory_order_seq_cst)) return false;
        return true;
    }

private:
    enum class State : std::uint8_t { none, posted, seen, again, ended };
    Atomic<State> state_{State::none};
};

}  // namespace detail
CHAINRING_END_NAMESPACE
