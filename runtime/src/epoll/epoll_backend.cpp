// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/epoll/epoll_backend.hpp"

#include "runtime/src/sanitizers.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {
constexpr timespec no_time{};
}

EpollPool::EpollPool(unsigned count, unsigned buffer_size) : BufferPool(count, buffer_size) {
    free_.reserve(count);
    for (unsigned index = count; index-- > 0;) free_.push_back(static_cast<std::uint16_t>(index));
}

void EpollPool::recycle(unsigned index) noexcept {
    free_.push_back(static_cast<std::uint16_t>(index));
}

std::byte* EpollPool::prepare(unsigned index) noexcept {
    unpoison(buffer(index), buffer_size());
    return buffer(index);
}

void EpollPool::untouched(unsigned index) noexcept {
    poison(buffer(index), buffer_size());
}

EpollBackend::EpollBackend(const BackendOptions& options)
    : OsBackend(options.clock, true), pool_(options.recv_buffers, options.recv_buffer_size) {
    epoll_fd_ = ::epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd_ < 0) throw std::system_error(errno, std::system_category(), "chainring: epoll");
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    event.data.ptr = nullptr;  // the wake descriptor
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd(), &event) < 0) {
        const int error = errno;
        ::close(epoll_fd_);
        throw std::system_error(error, std::system_category(), "chainring: epoll wake");
    }
    nanoseconds_ = ::epoll_pwait2(epoll_fd_, events_.data(), events_per_wait, &no_time, nullptr) >= 0;
}

EpollBackend::~EpollBackend() {
    ::close(epoll_fd_);
}

void SendOperation::advance(std::size_t bytes) noexcept {
    taken += static_cast<std::uint32_t>(bytes);
    if (!gathered) return;
    while (bytes > 0) {
        iovec& piece = *message->msg_iov;
        const std::size_t part = std::min(bytes, piece.iov_len);
        piece.iov_base = static_cast<std::byte*>(piece.iov_base) + part;
        piece.iov_len -= part;
        bytes -= part;
        if (piece.iov_len > 0) return;
        ++message->msg_iov;
        --message->msg_iovlen;
    }
}

// ---- submission

int EpollBackend::register_endpoint(Endpoint& endpoint) noexcept {
    if (endpoint.registered) return 0;
    epoll_event event{};
    event.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;
    event.data.ptr = &endpoint;
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, endpoint.fd, &event) < 0) return errno;
    // On a unix socket a read also ends where passed descriptors or credentials change (unix(7)).
    int domain = 0;
    socklen_t size = sizeof domain;
    ::getsockopt(endpoint.fd, SOL_SOCKET, SO_DOMAIN, &domain, &size);
    endpoint.short_reads = domain == AF_UNIX;
    endpoint.registered = true;
    return 0;
}

void EpollBackend::submit(Operation& operation) noexcept {
    begin(operation);
    Endpoint& endpoint = *operation.endpoint;
    if (!endpoint.registered) {
        endpoint.readable = true;  // not known: try
        endpoint.writable = true;
        endpoint.short_reads = false;
    }
    const bool reads = operation.kind == OperationKind::accept || operation.kind == OperationKind::recv;
    (reads ? endpoint.reader : endpoint.writer) = &operation;
    bool tries = reads ? endpoint.readable : endpoint.writable;
    if (operation.kind == OperationKind::send) {
        auto& send = static_cast<SendOperation&>(operation);
        send.taken = 0;
        tries |= send.nowait;  // the next edge may be far off
    }
    if (tries) enqueue(endpoint);
}

void EpollBackend::cancel(Operation& operation) noexcept {
    if (!operation.armed || operation.cancel_requested) return;
    operation.cancel_requested = true;
    enqueue(*operation.endpoint);
}

void EpollBackend::close(Endpoint& endpoint) noexcept {
    // Closing alone does not take it out of the epoll set while a forked child still has the descriptor.
    const int fd = release(endpoint);
    if (fd >= 0) ::close(fd);
}

int EpollBackend::release(Endpoint& endpoint) noexcept {
    dequeue(endpoint);
    if (std::exchange(endpoint.registered, false)) ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, endpoint.fd, nullptr);
    return OsBackend::release(endpoint);
}

void EpollBackend::enqueue(Endpoint& endpoint) noexcept {
    if (endpoint.queued) return;
    endpoint.queued = true;
    endpoint.next_queued = nullptr;
    endpoint.prev_queued = queue_tail_;
    (queue_tail_ ? queue_tail_->next_queued : queue_head_) = &endpoint;
    queue_tail_ = &endpoint;
}

void EpollBackend::dequeue(Endpoint& endpoint) noexcept {
    if (!endpoint.queued) return;
    endpoint.queued = false;
    (endpoint.prev_queued ? endpoint.prev_queued->next_queued : queue_head_) = endpoint.next_queued;
    (endpoint.next_queued ? endpoint.next_queued->prev_queued : queue_tail_) = endpoint.prev_queued;
}

// ---- waiting

void EpollBackend::poll() noexcept {
    try_queued();
    collect(nullptr, false);
    try_queued();
    skipped_ = 0;
}

void EpollBackend::wait(Instant deadline) noexcept {
    const std::uint64_t before = completions();
    try_queued();
    const bool delivered = completions() != before;
    // What was delivered makes tasks runnable, and those come first; but not for ever before a look at the edges.
    if (delivered && ++skipped_ < 8) return;
    skipped_ = 0;
    const bool timed = deadline != Instant::max();
    const Duration left = timed ? time_until(deadline) : Duration::zero();
    if (delivered || queue_head_ || (timed && left <= Duration::zero())) {
        collect(nullptr, false);
    } else if (!timed || manual_time()) {
        collect(nullptr, true);
    } else {
        timespec timeout{};
        timeout.tv_sec = left.count() / 1'000'000'000;
        timeout.tv_nsec = left.count() % 1'000'000'000;
        collect(&timeout, true);
    }
    try_queued();
}

bool EpollBackend::spin() noexcept {
    const std::uint64_t before = completions();
    poll();
    return completions() != before;
}

// epoll_pwait2 (Linux 5.11) has nanoseconds; where it is missing or a seccomp filter refuses it, milliseconds, rounded
// up.
int EpollBackend::wait_for_events(const timespec* timeout) noexcept {
    if (nanoseconds_) return ::epoll_pwait2(epoll_fd_, events_.data(), events_per_wait, timeout, nullptr);
    constexpr long long longest = 86'400'000;
    const long long milliseconds = timeout ? std::min(longest, static_cast<long long>(timeout->tv_sec) * 1000 +
                                                                   (timeout->tv_nsec + 999'999) / 1'000'000)
                                           : -1;
    return ::epoll_wait(epoll_fd_, events_.data(), events_per_wait, static_cast<int>(milliseconds));
}

void EpollBackend::collect(const timespec* timeout, bool block) noexcept {
    const int count = wait_for_events(block ? timeout : &no_time);
    for (int at = 0; at < count; ++at) {
        const epoll_event& event = events_[static_cast<std::size_t>(at)];
        if (!event.data.ptr) continue;  // a wake: the caller looks at its inbox anyway
        Endpoint& endpoint = *static_cast<Endpoint*>(event.data.ptr);
        const bool ended = (event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
        if ((event.events & EPOLLIN) || ended) endpoint.readable = true;
        if ((event.events & EPOLLOUT) || (event.events & (EPOLLHUP | EPOLLERR))) endpoint.writable = true;
        // After the last byte 0 is still to come; and a read ends at the urgent mark (tcp(7)).
        if (ended || (event.events & EPOLLPRI)) endpoint.short_reads = true;
        if ((endpoint.reader && endpoint.readable) || (endpoint.writer && endpoint.writable)) enqueue(endpoint);
    }
}

// ---- trying

void EpollBackend::try_queued() noexcept {
    // At most those queued now: an endpoint that has used its budget goes to the tail for the next poll.
    std::size_t count = 0;
    for (Endpoint* at = queue_head_; at; at = at->next_queued) ++count;
    while (count-- > 0 && queue_head_) {
        Endpoint& endpoint = *queue_head_;
        dequeue(endpoint);
        // A connect's endpoint lives in the frame of its task, which may run elsewhere, to its end, from its completion
        // on.
        const bool connecting = endpoint.writer && endpoint.writer->kind == OperationKind::connect;
        if (endpoint.writer) try_writer(endpoint);
        if (connecting) continue;
        // The completion above may have closed the endpoint; its owner keeps the memory until this poll is over.
        if (endpoint.reader) try_reader(endpoint);
    }
}

void EpollBackend::complete_reader(Endpoint& endpoint, int result) noexcept {
    Operation& operation = *std::exchange(endpoint.reader, nullptr);
    deliver(operation, Completion{result, false, nullptr});
}

void EpollBackend::complete_writer(Endpoint& endpoint, int result) noexcept {
    Operation& operation = *std::exchange(endpoint.writer, nullptr);
    deliver(operation, Completion{result, false, nullptr});
}

void EpollBackend::try_reader(Endpoint& endpoint) noexcept {
    Operation& operation = *endpoint.reader;
    if (operation.cancel_requested) {
        complete_reader(endpoint, -ECANCELED);
        return;
    }
    if (!endpoint.readable) return;
    if (const int error = register_endpoint(endpoint)) {
        complete_reader(endpoint, -error);
        return;
    }
    if (operation.kind == OperationKind::accept)
        try_accept(endpoint, operation);
    else
        try_receive(endpoint, operation);
}

void EpollBackend::try_writer(Endpoint& endpoint) noexcept {
    Operation& operation = *endpoint.writer;
    if (operation.kind == OperationKind::connect) {
        try_connect(endpoint, static_cast<ConnectOperation&>(operation));
        return;
    }
    auto& send = static_cast<SendOperation&>(operation);
    if (operation.cancel_requested) {
        complete_writer(endpoint, send.taken > 0 ? static_cast<int>(send.taken) : -ECANCELED);
        return;
    }
    if (!endpoint.writable && !send.nowait) return;
    if (const int error = register_endpoint(endpoint)) {
        complete_writer(endpoint, -error);
        return;
    }
    try_send(endpoint, send);
}

void EpollBackend::try_accept(Endpoint& endpoint, Operation& operation) noexcept {
    for (int accepted = 0; accepted < accept_budget; ++accepted) {
        const Result<int> fd = accept_now(endpoint.fd);
        if (fd && operation.once) {
            complete_reader(endpoint, *fd);
            return;
        }
        if (fd) {
            deliver(operation, Completion{*fd, true, nullptr});
            if (operation.cancel_requested) break;
            continue;
        }
        const int error = fd.error().value();
        if (error == EAGAIN || error == EWOULDBLOCK) {
            endpoint.readable = false;
            return;
        }
        complete_reader(endpoint, -error);
        return;
    }
    enqueue(endpoint);
}

void EpollBackend::try_receive(Endpoint& endpoint, Operation& operation) noexcept {
    std::size_t total = 0;
    while (total < read_budget) {
        if (pool_.empty()) {
            complete_reader(endpoint, -ENOBUFS);
            return;
        }
        const unsigned index = pool_.next();
        const ssize_t size = ::recv(endpoint.fd, pool_.prepare(index), pool_.buffer_size(), MSG_DONTWAIT);
        if (size < 0) {
            const int error = errno;
            pool_.untouched(index);
            if (error == EINTR) continue;
            if (error == EAGAIN || error == EWOULDBLOCK) {
                endpoint.readable = false;
                return;
            }
            complete_reader(endpoint, -error);
            return;
        }
        if (size == 0) {
            pool_.untouched(index);
            complete_reader(endpoint, 0);
            return;
        }
        pool_.take();
        total += static_cast<std::size_t>(size);
        const bool drained = static_cast<unsigned>(size) < pool_.buffer_size() && !endpoint.short_reads;
        if (drained) endpoint.readable = false;
        deliver(operation,
                Completion{static_cast<int>(size), true, pool_.lend(index, static_cast<std::uint32_t>(size))});
        if (operation.cancel_requested || drained) return;
    }
    enqueue(endpoint);
}

void EpollBackend::try_send(Endpoint& endpoint, SendOperation& operation) noexcept {
    for (;;) {
        ssize_t size = 0;
        if (operation.gathered)
            size = ::sendmsg(endpoint.fd, operation.message, MSG_NOSIGNAL | MSG_DONTWAIT);
        else
            size = ::send(endpoint.fd, static_cast<const std::byte*>(operation.data) + operation.taken,
                          operation.size - operation.taken, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (size < 0) {
            const int error = errno;
            if (error == EINTR) continue;
            if (error != EAGAIN && error != EWOULDBLOCK) {
                complete_writer(endpoint, operation.taken > 0 ? static_cast<int>(operation.taken) : -error);
                return;
            }
            endpoint.writable = false;
            if (operation.nowait)
                complete_writer(endpoint, operation.taken > 0 ? static_cast<int>(operation.taken) : -EAGAIN);
            return;
        }
        operation.advance(static_cast<std::size_t>(size));
        if (operation.taken < operation.size) continue;
        complete_writer(endpoint, static_cast<int>(operation.taken));
        return;
    }
}

void EpollBackend::try_connect(Endpoint& endpoint, ConnectOperation& operation) noexcept {
    if (operation.cancel_requested) {
        complete_writer(endpoint, -ECANCELED);
        return;
    }
    if (!operation.begun) {
        operation.begun = true;
        int error = 0;
        do {
            error = ::connect(endpoint.fd, operation.address, operation.address_size) == 0 ? 0 : errno;
        } while (error == EINTR);
        if (error != EINPROGRESS) {
            complete_writer(endpoint, -error);
            return;
        }
        endpoint.writable = false;  // registering reports the state as an edge
        if (const int refused = register_endpoint(endpoint)) complete_writer(endpoint, -refused);
        return;
    }
    if (!endpoint.writable) return;
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(endpoint.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    complete_writer(endpoint, -error);
}

std::unique_ptr<Backend> make_epoll_backend(const BackendOptions& options) {
    return std::make_unique<EpollBackend>(options);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
