// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/task_report.hpp"

#include <chainring/runtime.hpp>
#include <chainring/scope.hpp>

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/worker.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <string_view>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

constexpr std::array kind_names = {
    "a wait",  "sleep", "join",       "a child's result", "offload", "event",          "semaphore",
    "mutex",   "latch", "channel",    "token bucket",     "outbox",  "accept",         "connect",
    "resolve", "recv",  "recv_exact", "recv_until",       "send",    "shutdown_write", "close",
};
static_assert(kind_names.size() == static_cast<std::size_t>(WaitKind::close) + 1);

// Written before main, read by reporters.
std::array<std::atomic<DescribeWait>, kind_names.size()> describers{};

std::string without(std::string_view text, std::string_view what) {
    std::string rest(text);
    for (auto at = rest.find(what); at != std::string::npos; at = rest.find(what, at)) rest.erase(at, what.size());
    return rest;
}

#define CHAINRING_TEXT_OF(name) CHAINRING_TEXT_OF_EXPANDED(name)
#define CHAINRING_TEXT_OF_EXPANDED(name) #name

// GCC names the body of a coroutine f(int) "void ns::f(f(int)::MANGLED.Frame*)": ns::f(int) is made of it.
std::string_view::size_type opening_of(std::string_view text, std::string_view::size_type end) noexcept {
    for (int depth = 0; end-- > 0;) {
        if (text[end] == ')') ++depth;
        if (text[end] == '(' && depth-- == 0) return end;
    }
    return text.npos;
}

std::string plain_name(std::string_view name) {
    const auto mangled = name.rfind("::_Z");
    if (mangled == name.npos || name.find(".Frame*", mangled) == name.npos) return std::string(name);
    const auto open = opening_of(name, mangled);
    if (open == name.npos) return std::string(name);
    std::string_view function = name.substr(0, open);
    if (function.substr(0, 5) == "void ") function.remove_prefix(5);
    const std::string_view declared = name.substr(open + 1, mangled - open - 1);
    if (declared.empty() || declared.back() != ')') return std::string(function);
    return std::string(function).append(declared.substr(opening_of(declared, declared.size() - 1)));
}

// As the user wrote it: without return type, namespaces of ours, and lists of template arguments.
std::string function_of(const std::source_location& at) {
    std::string_view whole = at.function_name();
    whole = whole.substr(0, whole.find(" ["));  // " [with T = ...]" of GCC, " [T = ...]" of Clang
    std::string name = plain_name(whole);
    for (const std::string_view noise : {"chainring::" CHAINRING_TEXT_OF(CHAINRING_ABI_NAMESPACE) "::", "chainring::",
                                         "{anonymous}::", "(anonymous namespace)::"})
        name = without(name, noise);
    if (name.rfind("Task<", 0) != 0) return name;
    int depth = 0;
    for (std::size_t at_char = 4; at_char < name.size(); ++at_char) {
        if (name[at_char] == '<') ++depth;
        if (name[at_char] == '>' && --depth == 0) return name.substr(std::min(at_char + 2, name.size()));
    }
    return name;
}

std::string_view file_of(std::string_view path) {
    return path.substr(path.find_last_of('/') + 1);
}

void append_place(std::string& out, const char* file, unsigned line) {
    out += file_of(file);
    out += ':';
    out += std::to_string(line);
}

void append_await(std::string& out, const std::source_location& at) {
    out += function_of(at) + ", ";
    append_place(out, at.file_name(), at.line());
    out += '\n';
}

std::string seconds(Duration duration) {
    std::array<char, 32> text{};
    const double value = std::chrono::duration<double>(duration).count();
    std::snprintf(text.data(), text.size(), value < 100 ? "%.1f s" : "%.0f s", value < 0 ? 0 : value);
    return text.data();
}

#if CHAINRING_TASK_DUMP
// A frame whose coroutine was never suspended in an await has no place yet; those inside of the library tell users
// nothing.
bool has_place(const FrameNode& frame) {
    return frame.where.line() != 0 &&
           std::string_view(frame.where.function_name()).find("::detail::") == std::string_view::npos;
}
#endif

}  // namespace

void describe_waits(WaitKind kind, DescribeWait describe) noexcept {
    describers[static_cast<std::size_t>(kind)].store(describe, std::memory_order_release);
}

std::string task_name(const TaskContext& task) {
    if (task.named)
        if (const char* name = task.worker()->runtime().name_of(task)) return name;
#if CHAINRING_TASK_DUMP
    const FrameNode* outermost = nullptr;
    for (const FrameNode* frame = task.leaf; frame && frame->parent; frame = frame->parent)
        if (has_place(*frame)) outermost = frame;
    if (outermost) return function_of(outermost->where);
#endif
    return "a task";
}

// Depth first, without recursion: scopes nest as deep as users like. The children of a scope are linked newest first.
template <class Visit>
void TaskReport::walk(Visit visit) {
    struct Level {
        Scope* scope;
        const TaskContext* next;
    };
    std::vector<Level> levels;
    // A foreign thread may spawn meanwhile, which changes the head of the list and nothing behind it. Children leave a
    // list on workers only.
    const auto enter = [&levels](Scope& scope) {
        const std::lock_guard lock(scope.mutex_);
        levels.push_back({&scope, scope.first_child_});
    };
    enter(state_.runtime.root());
    while (!levels.empty()) {
        Level& level = levels.back();
        if (!level.next) {
            Scope* following = level.scope->outer_;  // the same owner's scopes, newest first
            levels.pop_back();
            if (following) enter(*following);
            continue;
        }
        const TaskContext& task = *level.next;
        level.next = task.sibling_next;
        visit(task, levels.size() - 1, *level.scope);
        if (readable(task) && task.open_scopes) enter(*task.open_scopes);
    }
}

TaskReport::TaskReport(const RuntimeState& state, const Safepoint::Pause& pause, std::size_t max_tasks)
    : state_(state), max_tasks_(max_tasks) {
#if CHAINRING_TASK_DUMP
    for (const auto& worker : state.workers) {
        const TaskContext* running = worker->running();
        const bool held = pause.holds(worker->index());
        workers_.push_back({running, held});
        anywhere_ = anywhere_ || (!held && !running);
        if (!held && !running)
            text_ += "worker " + std::to_string(worker->index()) +
                     " did not come to a pause within a second; its tasks are left out\n";
    }
    walk([this](const TaskContext& task, std::size_t, const Scope&) { known_.insert(&task); });
    walk([this](const TaskContext& task, std::size_t depth, const Scope& made_in) {
        if (tasks_++ < max_tasks_) describe(task, depth, made_in);
    });
    if (tasks_ > max_tasks_) text_ += "  and " + std::to_string(tasks_ - max_tasks_) + " more\n";
#else
    text_ = "chainring was built without the task dump (CHAINRING_TASK_DUMP=OFF)\n";
#endif
}

bool TaskReport::is_running(const TaskContext& task) const noexcept {
    return workers_[task.worker()->index()].running == &task;
}

// A worker that is stuck in a task stops before it does anything else, so all but that task may be read; one that is
// held up elsewhere may go on at any moment.
bool TaskReport::readable(const TaskContext& task) const noexcept {
    const auto& [running, held] = workers_[task.worker()->index()];
    if (!task.request.waiting() && anywhere_) return false;
    return held || (running && running != &task);
}

void TaskReport::describe(const TaskContext& task, std::size_t depth, const Scope& made_in) {
    const std::string indent(2 * depth, ' ');
    const unsigned index = task.worker()->index();
    if (!readable(task)) {
        if (!is_running(task)) return;
        const char* name = task.named ? state_.name_of(task) : nullptr;
        text_ += indent + (name ? name : "a task") + " on worker " + std::to_string(index) +
                 ": has been running without a pause for at least a second\n";
        return;
    }
    text_ += indent;
    text_ += task_name(task);
    text_ += " on worker " + std::to_string(index) + ": ";
    const Waiter* waiter = task.waiter;
    if (is_running(task)) {
        text_ += "running";
    } else if (waiter) {
        const auto kind = static_cast<std::size_t>(waiter->waits_in);
        text_ += kind_names[kind];
        if (const DescribeWait describe_wait = describers[kind].load(std::memory_order_acquire)) {
            text_ += ", ";
            describe_wait(*waiter, *this, text_);
        }
        text_ += ", for " + seconds(task.worker()->ticks_ago(task.since));
    } else {
        text_ += task.resume ? "runnable" : "has not begun";
    }
    if (task.cancelled) text_ += "; cancelled";
    if (task.shields > 0) text_ += task.behind_shield ? "; shielded, cancelled" : "; shielded";
    if (task.deadline != Instant::max()) text_ += "; deadline in " + seconds(task.deadline - task.worker()->now());
    if (made_in.file_) {
        text_ += "; scope of ";
        append_place(text_, made_in.file_, made_in.line_);
    }
    text_ += '\n';
#if CHAINRING_TASK_DUMP
    for (const FrameNode* frame = task.leaf; frame && frame->parent; frame = frame->parent) {
        if (!has_place(*frame)) continue;
        text_ += indent + "    in ";
        append_await(text_, frame->where);
    }
#endif
}

std::string TaskReport::name_of(const TaskContext* task) const {
    if (!known_.contains(task)) return "a task that has ended";
    if (!readable(*task)) return "a task that worker " + std::to_string(task->worker()->index()) + " is running";
    return task_name(*task);
}

// ---- exceptions

void note_exception([[maybe_unused]] const FrameNode& frame) noexcept {
#if CHAINRING_TASK_DUMP
    Worker::current()->note_exception(frame);
#endif
}

void ExceptionTrace::note([[maybe_unused]] const FrameNode& frame) noexcept {
#if CHAINRING_TASK_DUMP
    std::exception_ptr thrown = std::current_exception();
    if (thrown == exception_) return;  // on its way up through the chain that is noted
    exception_ = std::move(thrown);
    count_ = 0;
    for (const FrameNode* at = &frame; at && at->parent && count_ < frames_.size(); at = at->parent)
        if (has_place(*at)) frames_[count_++] = at->where;
#endif
}

std::string ExceptionTrace::text(const std::exception_ptr& exception) const {
    std::string lines;
    if (exception != exception_) return lines;
    for (std::size_t frame = 0; frame < count_; ++frame) {
        lines += frame == 0 ? "    after the await in " : "    awaited in ";
        append_await(lines, frames_[frame]);
    }
    return lines;
}

}  // namespace detail

void name_this_task(const char* name) {
    const detail::Worker* worker = detail::Worker::current();
    CHAINRING_REQUIRE(worker && worker->running(), "name_this_task is for a task of a Runtime");
    worker->runtime().name_task(*worker->running(), name);
}

CHAINRING_END_NAMESPACE
