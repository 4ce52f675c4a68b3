// SPDX-License-Identifier: BSL-1.0
// Recycled coroutine frames. Each thread keeps free lists by size class (8-byte steps up to 4 KiB, so that no frame
// carries padding); larger frames go to operator new. A frame freed on another thread joins that thread's list; a list
// that grows past its cap hands a batch to the shared depot, from which a thread whose list is empty takes one (the
// thread-cache and central-list scheme of tcmalloc). Sanitized builds do not recycle, so that a use after free is seen.
#include <chainring/frame.hpp>

#include <array>
#include <mutex>
#include <new>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

#ifdef CHAINRING_NO_RECYCLING

void* allocate_frame(std::size_t bytes) {
    return ::operator new(bytes);
}
void free_frame(void* frame, std::size_t) noexcept {
    ::operator delete(frame);
}

#else

namespace {

constexpr std::size_t class_size = 8;
constexpr std::size_t classes = 4096 / class_size;
constexpr unsigned batch_frames = 32;

struct FreeFrame {
    FreeFrame* next;
    FreeFrame* next_batch;  // valid in the first frame of a batch in the depot
};

// Batches of exactly batch_frames frames, of one size class each. Any thread; the mutex is taken once per batch.
class Depot {
public:
    void put(std::size_t size_class, FreeFrame* batch) noexcept {
        const std::lock_guard lock(mutex_);
        batch->next_batch = std::exchange(batches_[size_class], batch);
    }
    FreeFrame* take(std::size_t size_class) noexcept {
        const std::lock_guard lock(mutex_);
        FreeFrame* batch = batches_[size_class];
        if (batch) batches_[size_class] = batch->next_batch;
        return batch;
    }

private:
    std::mutex mutex_;
    std::array<FreeFrame*, classes> batches_{};
};

// Never destroyed: frames may be freed while the process ends.
Depot& depot() noexcept {
    static Depot* const instance = new Depot;
    return *instance;
}

struct FreeList {
    FreeFrame* head = nullptr;
    FreeFrame* second = nullptr;  // a full batch behind `head`'s, so that alternating at an edge stays local
    unsigned count = 0;           // in `head`
};

class ThreadCache {
public:
    ~ThreadCache() {
        for (FreeList& list : lists_) {
            release(std::exchange(list.head, nullptr));
            release(std::exchange(list.second, nullptr));
            list.count = 0;
        }
    }

    void* allocate(std::size_t size_class) {
        FreeList& list = lists_[size_class];
        FreeFrame* frame = list.head;
        if (!frame) [[unlikely]]
            return refill(list, size_class);
        list.head = frame->next;
        --list.count;
        return frame;
    }

    void free(void* memory, std::size_t size_class) noexcept {
        FreeList& list = lists_[size_class];
        if (list.count == batch_frames) [[unlikely]]
            set_aside(list, size_class);
        auto* frame = static_cast<FreeFrame*>(memory);
        frame->next = list.head;
        list.head = frame;
        ++list.count;
    }

private:
    // Apart from the fast paths, which then need no registers saved.
    [[gnu::noinline]] static void* refill(FreeList& list, std::size_t size_class) {
        FreeFrame* batch = list.second ? std::exchange(list.second, nullptr) : depot().take(size_class);
        if (!batch) return ::operator new((size_class + 1) * class_size);
        list.head = batch->next;
        list.count = batch_frames - 1;
        return batch;
    }
    [[gnu::noinline]] static void set_aside(FreeList& list, std::size_t size_class) noexcept {
        if (list.second) depot().put(size_class, list.second);
        list.second = std::exchange(list.head, nullptr);
        list.count = 0;
    }
    static void release(FreeFrame* frame) noexcept {
        while (frame) ::operator delete(std::exchange(frame, frame->next));
    }
    std::array<FreeList, classes> lists_{};
};

thread_local ThreadCache cache;

std::size_t class_of(std::size_t bytes) noexcept {
    return (bytes - 1) / class_size;
}

}  // namespace

void* allocate_frame(std::size_t bytes) {
    const std::size_t size_class = class_of(bytes);
    return size_class < classes ? cache.allocate(size_class) : ::operator new(bytes);
}

void free_frame(void* frame, std::size_t bytes) noexcept {
    const std::size_t size_class = class_of(bytes);
    if (size_class < classes)
        cache.free(frame, size_class);
    else
        ::operator delete(frame);
}

#endif

}  // namespace detail
CHAINRING_END_NAMESPACE
