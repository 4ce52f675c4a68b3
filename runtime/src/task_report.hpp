// SPDX-License-Identifier: BSL-1.0
// TaskReport: what every task of a Runtime is doing, as text. It walks the tree of scopes and tasks while a
// Safepoint::Pause holds the workers. Of a worker that is stuck in a task everything but that task is read as well: it
// would come to its safepoint before it touched anything else.
//
//   NAME on worker 0: recv, Link 127.0.0.1:7000 from 127.0.0.1:51234 (fd 9), for 3.2 s
//       in Task<> echo(Link), main.cpp:14
//     a child, in the scope made at main.cpp:20: ...
#pragma once

#include <chainring/config.hpp>
#include <chainring/task_context.hpp>

#include "runtime/src/safepoint.hpp"

#include <array>
#include <cstddef>
#include <exception>
#include <source_location>
#include <string>
#include <unordered_set>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

class RuntimeState;

namespace detail {

class TaskReport;

// What a kind of wait has to say of itself ("Link 127.0.0.1:7000 ..."); appended to the report. Called by a reporter
// while the wait's worker is held.
using DescribeWait = void (*)(const Waiter& waiter, const TaskReport& report, std::string& out);
// Once per kind, before any task waits: from the initialisation of the file that defines the wait.
void describe_waits(WaitKind kind, DescribeWait describe) noexcept;

// The name given to a task, or that of its outermost function.
std::string task_name(const TaskContext& task);

class TaskReport {
public:
    // At most `max_tasks` are described; the others are counted.
    TaskReport(const RuntimeState& state, const Safepoint::Pause& pause, std::size_t max_tasks = ~std::size_t{0});
    std::string take() noexcept { return std::move(text_); }
    std::size_t tasks() const noexcept { return tasks_; }
    // For describers: the name of a task that something remembers, if the task is still there.
    std::string name_of(const TaskContext* task) const;

private:
    template <class Visit>
    void walk(Visit visit);
    void describe(const TaskContext& task, std::size_t depth, const Scope& made_in);
    bool is_running(const TaskContext& task) const noexcept;
    bool readable(const TaskContext& task) const noexcept;

    struct WorkerSeen {
        const TaskContext* running;
        bool held;
    };
    const RuntimeState& state_;
    std::vector<WorkerSeen> workers_;  // as the report began
    bool anywhere_ = false;            // a worker is neither held nor stuck: it may resume any task that can run
    std::size_t max_tasks_;
    std::size_t tasks_ = 0;
    std::unordered_set<const TaskContext*> known_;
    std::string text_;
};

// The chain of awaits that the last exception of a worker came through. Reading it is for the report of an exception
// that nobody caught; writing costs a walk over at most `frames_` for each exception that leaves a coroutine.
class ExceptionTrace {
public:
    void note(const FrameNode& frame) noexcept;  // while the exception is being handled, in the frame that it leaves
    // One line for each frame, innermost first; empty when it was not this exception.
    std::string text(const std::exception_ptr& exception) const;
    void clear() noexcept { exception_ = nullptr; }
    bool empty() const noexcept { return !exception_; }

private:
    std::exception_ptr exception_;
    std::size_t count_ = 0;
    std::array<std::source_location, 16> frames_{};
};

}  // namespace detail
CHAINRING_END_NAMESPACE
