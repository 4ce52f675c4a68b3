// SPDX-License-Identifier: BSL-1.0
// The way home. An operation of a Link or a Listener begins at the object's home worker. A task that is elsewhere,
// because it was stolen or has an affinity, goes there for it: the task is in no queue meanwhile, and does not wait, so
// that nobody ends it before it has begun. Another task may drop the Link or Listener meanwhile: its State (LinkState
// or ListenerState) stays from task_departs(), on any worker, until task_arrived(), at home.
#pragma once

#include <chainring/config.hpp>
#include <chainring/task_context.hpp>

#include "runtime/src/worker.hpp"

#include <coroutine>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// Sends the running task home, where `arrive` is called; from here on it may run there. True: it is suspended.
template <class State>
[[gnu::noinline]] bool go_home(Waiter& op, State& state, FrameNode& node, std::coroutine_handle<> handle,
                               void (*arrive)(InboxNode&) noexcept) noexcept {
    state.task_departs();
    TaskContext& task = *node.context;
    task.resume = handle;
    task.leaf = &node;
    task.waiter = &op;
    send_to(state.home(), task, arrive);
    return true;
}

// First in `arrive`.
inline TaskContext& arrived_task(InboxNode& node) noexcept {
    TaskContext& task = TaskContext::of(node);
    task.set_worker(*Worker::current());
    return task;
}

// Last in `arrive`: the operation `waits` or, with nothing to wait for, lets its task go on.
template <class State>
void has_begun(TaskContext& task, State& state, bool waits) noexcept {
    if (!waits) {
        task.waiter = nullptr;
        task.worker()->make_runnable(task);
    }
    state.task_arrived();
}

}  // namespace detail
CHAINRING_END_NAMESPACE
