// SPDX-License-Identifier: BSL-1.0
// What every coroutine frame of chainring carries: FrameNode, its place in the chain of awaits, and Frame, which takes
// the frame's memory from the recycling allocator. Both are base classes of the promises; users do not name them.
//
// A chain of frames (a task and what it awaits, innermost last) shares one TaskContext. The chain is read and
// written only by the thread that runs the task at that moment.
#pragma once

#include <chainring/config.hpp>

#include <cstddef>
#include <source_location>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class TaskContext;

struct FrameNode {
    TaskContext* context = nullptr;  // of the task that this frame belongs to; set when the frame is first resumed
    FrameNode* parent = nullptr;     // the frame that awaits this one; null in the outermost
#if CHAINRING_TASK_DUMP
    std::source_location where;  // of the co_await that this frame waits in, or waited in last
#endif
};

// An exception leaves the frame: notes through which awaits it came, for the report of one that nobody catches.
void note_exception(const FrameNode& frame) noexcept;

// Memory for coroutine frames. allocate_frame may throw std::bad_alloc; any thread may free what another allocated.
void* allocate_frame(std::size_t bytes);
void free_frame(void* frame, std::size_t bytes) noexcept;
// Gives half of the recycled frames back that nobody has wanted since the last call, at most 2 MiB or so. A worker
// calls it once a second, if it runs at all.
void trim_frames() noexcept;

struct Frame : FrameNode {
    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
    static void operator delete(void* frame, std::size_t bytes) noexcept { free_frame(frame, bytes); }
};

}  // namespace detail
CHAINRING_END_NAMESPACE
