// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/uring/uring_pool.hpp"

#include <cerrno>
#include <cstdint>
#include <sys/mman.h>
#include <system_error>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

UringPool::UringPool(io_uring& ring, unsigned count, unsigned buffer_size) : BufferPool(count, buffer_size) {
    const std::size_t bytes = count * sizeof(io_uring_buf);
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::system_error(errno, std::system_category(), "chainring: buffer ring memory");
    ring_ = static_cast<io_uring_buf_ring*>(memory);
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<std::uintptr_t>(ring_);
    registration.ring_entries = count;
    registration.bgid = group;
    if (const int error = io_uring_register_buf_ring(&ring, &registration, 0)) {
        ::munmap(memory, bytes);
        throw std::system_error(-error, std::system_category(), "chainring: io_uring buffer ring");
    }
    io_uring_buf_ring_init(ring_);
    for (unsigned index = 0; index < count; ++index) recycle(index);
    publish();
}

UringPool::~UringPool() {
    ::munmap(ring_, count() * sizeof(io_uring_buf));
}

}  // namespace detail
CHAINRING_END_NAMESPACE
