// SPDX-License-Identifier: BSL-1.0
// operator delete of the model programs: what is freed inside an execution is overwritten at once and given back
// after it, so that a late access finds the address of a dead object and not of a new one. A sanitizer keeps what was
// freed by itself, and says more about it.
#include "tests/model/checker/quarantine.hpp"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <malloc.h>
#include <new>

namespace model::detail {

namespace {
struct Freed {
    Freed* next;
};
Freed* kept = nullptr;
bool keeping = false;
}  // namespace

void keep_freed(bool keep) noexcept {
    keeping = keep;
    if (keep) return;
    while (Freed* freed = kept) {
        kept = freed->next;
        std::free(freed);
    }
}

#ifndef MODEL_SANITIZED
namespace {
void release(void* memory) noexcept {
    if (!keeping || !memory) {
        std::free(memory);
        return;
    }
    std::memset(memory, 0xDD, malloc_usable_size(memory));
    kept = new (memory) Freed{kept};
}

void* take(std::size_t size, std::size_t alignment) {
    void* memory = alignment > alignof(std::max_align_t)
                       ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                       : std::malloc(size);
    if (!memory) throw std::bad_alloc();
    return memory;
}
}  // namespace
#endif

}  // namespace model::detail

#ifndef MODEL_SANITIZED
void* operator new(std::size_t size) {
    return model::detail::take(size, 1);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return model::detail::take(size, std::size_t(alignment));
}
void operator delete(void* memory) noexcept {
    model::detail::release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    model::detail::release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
    model::detail::release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
    model::detail::release(memory);
}
#endif
