// SPDX-License-Identifier: BSL-1.0
// EpollBackend: the completion interface over epoll. Each descriptor is registered once, edge-triggered, for both
// directions; the endpoint remembers what the edges said. An operation is tried as soon as it is submitted (in the
// next poll), waits for an edge when the call would block, and completes exactly as it would on io_uring.
//
// Multishot recv: a buffer is taken only when there is something to read; with none free the operation ends with
// -ENOBUFS, as the kernel's does. No endpoint reads more than `read_budget` bytes in a row while others wait.
#pragma once

#include "runtime/src/os_backend.hpp"

#include <array>
#include <sys/epoll.h>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class EpollPool final : public BufferPool {
public:
    EpollPool(unsigned count, unsigned buffer_size);
    bool empty() const noexcept { return free_.empty(); }
    // The buffer that the next receive may fill: prepare() it, then take() or put it back untouched().
    unsigned next() const noexcept { return free_.back(); }
    std::byte* prepare(unsigned index) noexcept;
    void untouched(unsigned index) noexcept;
    void take() noexcept { free_.pop_back(); }

protected:
    void recycle(unsigned index) noexcept override;

private:
    std::vector<std::uint16_t> free_;  // capacity for all: never grows
};

class EpollBackend final : public OsBackend {
public:
    explicit EpollBackend(const BackendOptions& options);
    ~EpollBackend() override;

    std::string_view name() const noexcept override { return "epoll"; }
    void attach() override {}
    void detach() noexcept override {}
    void submit(Operation& operation) noexcept override;
    void submit_unawaited(SendOperation& send) noexcept override { submit(send); }
    void cancel(Operation& operation) noexcept override;
    void poll() noexcept override;
    void wait(Instant deadline) noexcept override;
    bool spin() noexcept override;
    BufferPool& buffers() noexcept override { return pool_; }
    void close(Endpoint& endpoint) noexcept override;
    int release(Endpoint& endpoint) noexcept override;

private:
    // As many as tasks are resumed in a pass: what is received is worked on, and its buffers are back, before more is.
    // With 256 the 512 connections of a busy server filled the pool, and much was copied.
    static constexpr int events_per_wait = 64;
    static constexpr std::size_t read_budget = 64 * 1024;
    static constexpr int accept_budget = 64;

    int register_endpoint(Endpoint& endpoint) noexcept;
    void enqueue(Endpoint& endpoint) noexcept;
    void dequeue(Endpoint& endpoint) noexcept;
    int wait_for_events(const timespec* timeout) noexcept;  // null: no limit
    void collect(const timespec* timeout, bool block) noexcept;
    void try_queued() noexcept;
    void try_reader(Endpoint& endpoint) noexcept;
    void try_writer(Endpoint& endpoint) noexcept;
    void try_accept(Endpoint& endpoint, Operation& operation) noexcept;
    void try_receive(Endpoint& endpoint, Operation& operation) noexcept;
    void try_send(Endpoint& endpoint, SendOperation& operation) noexcept;
    void try_connect(Endpoint& endpoint, ConnectOperation& operation) noexcept;
    void complete_reader(Endpoint& endpoint, int result) noexcept;
    void complete_writer(Endpoint& endpoint, int result) noexcept;

    int epoll_fd_ = -1;
    bool nanoseconds_ = true;  // epoll_pwait2 works
    EpollPool pool_;
    Endpoint* queue_head_ = nullptr;  // to be tried in the next poll, oldest first; doubly linked
    Endpoint* queue_tail_ = nullptr;
    unsigned skipped_ = 0;  // waits in a row that returned without a look at the edges
    std::array<epoll_event, events_per_wait> events_{};
};

}  // namespace detail
CHAINRING_END_NAMESPACE
