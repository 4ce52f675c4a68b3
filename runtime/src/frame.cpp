// SPDX-License-Identifier: BSL-1.0
// Recycled coroutine frames. Each thread keeps free lists by size class (8-byte steps up to 4 KiB, so that no frame
// carries padding); larger frames go to operator new. A frame freed on another thread joins that thread's list; a list
// that grows past its cap hands a batch to the shared depot, from which a thread whose list is empty takes one (the
// thread-cache and central-list scheme of tcmalloc). What lies in the depot
// unused goes back to operator delete by and by (trim_frames). Sanitized builds do not recycle, so that a use after
// free is seen.
#include <chainring/frame.hpp>

#include <algorithm>
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
void trim_frames() noexcept {}

#else

namespace {

constexpr std::size_t class_size = 8;
constexpr std::size_t classes = 4096 / class_size;
constexpr std::size_t batch_frames = 32;
constexpr std::size_t most_trimmed = std::size_t{2} << 20;  // bytes at a time: some 0.2 ms, for frames of 400

struct FreeFrame {
    FreeFrame* next;
    FreeFrame* next_batch;  // valid in the first frame of a batch in the depot
};

void release(FreeFrame* frame) noexcept {
    while (frame) ::operator delete(std::exchange(frame, frame->next));
}

// Batches of exactly batch_frames frames, of one size class each. Any thread; the mutex is taken once per batch.
class Depot {
public:
    void put(std::size_t size_class, FreeFrame* batch) noexcept {
        const std::lock_guard lock(mutex_);
        Shelf& shelf = shelves_[size_class];
        batch->next_batch = std::exchange(shelf.first, batch);
        ++shelf.batches;
    }
    FreeFrame* take(std::size_t size_class) noexcept {
        const std::lock_guard lock(mutex_);
        Shelf& shelf = shelves_[size_class];
        if (!shelf.first) return nullptr;
        shelf.fewest = std::min(shelf.fewest, --shelf.batches);
        return std::exchange(shelf.first, shelf.first->next_batch);
    }
    // Half of what has lain here unused since the last call, but not much more than `most` bytes.
    void trim(std::size_t most) noexcept {
        FreeFrame* surplus = nullptr;
        {
            const std::lock_guard lock(mutex_);
            std::size_t bytes = 0;
            for (std::size_t size_class = 0; size_class < classes; ++size_class) {
                Shelf& shelf = shelves_[size_class];
                for (std::size_t left = (shelf.fewest + 1) / 2; left > 0 && bytes < most; --left) {
                    FreeFrame* batch = std::exchange(shelf.first, shelf.first->next_batch);
                    --shelf.batches;
                    batch->next_batch = std::exchange(surplus, batch);
                    bytes += batch_frames * (size_class + 1) * class_size;
                }
                shelf.fewest = shelf.batches;
            }
        }
        while (surplus) release(std::exchange(surplus, surplus->next_batch));
    }

private:
    struct Shelf {
        FreeFrame* first = nullptr;
        std::size_t batches = 0;
        std::size_t fewest = 0;  // since the last trim
    };
    std::mutex mutex_;
    std::array<Shelf, classes> shelves_{};
};

// Never destroyed: frames may be freed while the process ends.
Depot& depot() noexcept {
    static Depot* const instance = new Depot;
    return *instance;
}

struct FreeList {
    FreeFrame* head = nullptr;
    FreeFrame* second = nullptr;  // a full batch behind `head`'s, so that alternating at an edge stays local
    std::size_t room = 0;         // in `head`, for as many frames; 0 at first, so that the first frame freed here takes
                                  // the slow path
};

// The calling thread's lists. Without a destructor of its own: that would be asked for at each access whether it has
// been registered. `Emptier` does it instead, from the slow paths, which every frame kept here has been through.
constinit thread_local std::array<FreeList, classes> lists{};

struct Emptier {
    ~Emptier() {
        for (FreeList& list : lists) {
            release(std::exchange(list.head, nullptr));
            release(std::exchange(list.second, nullptr));
            list.room = 0;
        }
    }
    bool registered = false;
};
thread_local Emptier emptier;

void keep(FreeList& list, void* memory) noexcept {
    auto* frame = static_cast<FreeFrame*>(memory);
    frame->next = list.head;
    list.head = frame;
    --list.room;
}

std::size_t class_of(std::size_t bytes) noexcept {
    return (bytes - 1) / class_size;
}

// Apart from the fast paths, which then need no registers saved.
[[gnu::noinline]] void* allocate_slowly(std::size_t bytes) {
    const std::size_t size_class = class_of(bytes);
    if (size_class >= classes) return ::operator new(bytes);
    FreeList& list = lists[size_class];
    FreeFrame* batch = list.second ? std::exchange(list.second, nullptr) : depot().take(size_class);
    if (!batch) return ::operator new((size_class + 1) * class_size);
    emptier.registered = true;
    list.head = batch->next;
    list.room = 1;
    return batch;
}

[[gnu::noinline]] void free_slowly(void* memory, std::size_t bytes) noexcept {
    const std::size_t size_class = class_of(bytes);
    if (size_class >= classes) {
        ::operator delete(memory);
        return;
    }
    FreeList& list = lists[size_class];
    emptier.registered = true;
    if (list.head) {  // a full batch
        if (list.second) depot().put(size_class, list.second);
        list.second = std::exchange(list.head, nullptr);
    }
    list.room = batch_frames;
    keep(list, memory);
}

}  // namespace

void* allocate_frame(std::size_t bytes) {
    const std::size_t size_class = class_of(bytes);
    if (size_class >= classes || !lists[size_class].head) [[unlikely]]
        return allocate_slowly(bytes);
    FreeList& list = lists[size_class];
    FreeFrame* const frame = list.head;
    list.head = frame->next;
    ++list.room;
    return frame;
}

void free_frame(void* frame, std::size_t bytes) noexcept {
    const std::size_t size_class = class_of(bytes);
    if (size_class >= classes || lists[size_class].room == 0) [[unlikely]] {
        free_slowly(frame, bytes);
        return;
    }
    keep(lists[size_class], frame);
}

void trim_frames() noexcept {
    depot().trim(most_trimmed);
}

#endif

}  // namespace detail
CHAINRING_END_NAMESPACE
