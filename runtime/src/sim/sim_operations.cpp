// SPDX-License-Identifier: BSL-1.0
// How an operation of a SimBackend completes: what a poll makes of one that may have something to deliver. The owner
// may free it, submit it again or close its endpoint inside of its terminal completion: it is not touched after that.
#include "runtime/src/sim/network.hpp"
#include "runtime/src/sim/sim_backend.hpp"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

bool SimBackend::attempt(Operation& operation) noexcept {
    if (cancelled(operation)) {
        if (!may_complete(operation) || !chance(network_.mischief.beaten_cancel)) return end_cancelled(operation);
        heat(operation);  // the cancel has lost for now; if this does not end the operation, it comes again
    }
    if (!machine_.is_open(operation.endpoint->fd)) return complete(operation, -EBADF);
    bool delivered = false;
    switch (operation.kind) {
        case OperationKind::accept:
            delivered = attempt_accept(operation);
            break;
        case OperationKind::recv:
            delivered = attempt_recv(operation);
            break;
        case OperationKind::send:
            delivered = attempt_send(static_cast<SendOperation&>(operation));
            break;
        case OperationKind::connect:
            delivered = attempt_connect(static_cast<ConnectOperation&>(operation));
            break;
    }
    return delivered;
}

// A terminal completion takes the operation out of everything that knows it before it is delivered. True, for the
// callers' sake.
bool SimBackend::complete(Operation& operation, int result, bool more, Segment* segment) noexcept {
    network_.trace().record(TraceKind::complete, static_cast<std::int64_t>(operation.kind), result);
    if (!more) {
        if (std::exchange(operation.pending, false)) std::erase(hot_, &operation);
        if (Operation** slot = slot_of(operation); slot && *slot == &operation) *slot = nullptr;
        if (operation.cancel_requested) {
            std::erase_if(cancels_, [&](const Cancel& cancel) { return cancel.operation == &operation; });
            cancels_fall_due();
        }
    }
    deliver(operation, Completion{result, more, segment});
    return true;
}

// A send says how much of it has gone (see OperationKind).
bool SimBackend::end_cancelled(Operation& operation) noexcept {
    int result = -ECANCELED;
    if (operation.kind == OperationKind::send) {
        const std::size_t taken = static_cast<SendOperation&>(operation).taken;
        if (taken > 0) result = static_cast<int>(taken);
    }
    return complete(operation, result);
}

bool SimBackend::attempt_accept(Operation& operation) noexcept {
    const Mischief& mischief = network_.mischief;
    const int fd = operation.endpoint->fd;
    for (unsigned count = 0; count < most_in_a_row; ++count) {
        if (machine_.would_accept(fd) && chance(mischief.interrupt)) return complete(operation, -EINTR);
        const int accepted = machine_.accept(fd);
        if (accepted == -EAGAIN) return count > 0;
        if (accepted < 0) return complete(operation, accepted);
        if (operation.once || chance(mischief.end_multishot)) return complete(operation, accepted);
        complete(operation, accepted, true);
        if (severed() || cancelled(operation)) return true;
    }
    heat(operation);
    return true;
}

bool SimBackend::attempt_recv(Operation& operation) noexcept {
    const Mischief& mischief = network_.mischief;
    const int fd = operation.endpoint->fd;
    const std::size_t limit = std::size_t{operation.burst} * Operation::recv_burst;
    std::size_t total = 0;
    for (unsigned count = 0; count < most_in_a_row; ++count) {
        if (!machine_.would_recv(fd)) return count > 0;
        if (chance(mischief.interrupt)) return complete(operation, -EINTR);
        const std::size_t there = machine_.readable(fd);
        if (there == 0) return complete(operation, machine_.recv(fd, {}));  // the end, or an error
        if (pool_.empty() || chance(mischief.no_buffers)) return complete(operation, -ENOBUFS);
        const unsigned index = pool_.take();
        std::size_t size = std::min<std::size_t>(there, pool_.buffer_size());
        if (chance(mischief.short_recv)) size = static_cast<std::size_t>(network_.random().between(1, size));
        const int taken = machine_.recv(fd, pool_.room(index).first(size));
        Segment* segment = pool_.lend(index, static_cast<std::uint32_t>(taken));
        total += size;
        const bool ends = total >= limit || chance(mischief.end_multishot);
        complete(operation, taken, !ends, segment);
        if (ends || severed() || cancelled(operation)) return true;
    }
    heat(operation);
    return true;
}

// Bytes taken of the next piece, 0 when there is none, or a negative errno.
int SimBackend::send_part(SendOperation& operation, std::size_t most) noexcept {
    const int fd = operation.endpoint->fd;
    most = std::min<std::size_t>(most, std::numeric_limits<int>::max());
    if (!operation.gathered) {
        const auto* data = static_cast<const std::byte*>(operation.data) + operation.taken;
        return machine_.send(fd, {data, std::min<std::size_t>(most, operation.size - operation.taken)});
    }
    msghdr& message = *operation.message;
    while (message.msg_iovlen > 0 && message.msg_iov->iov_len == 0) {
        ++message.msg_iov;
        --message.msg_iovlen;
    }
    if (message.msg_iovlen == 0) return 0;
    const auto* data = static_cast<const std::byte*>(message.msg_iov->iov_base);
    return machine_.send(fd, {data, std::min(most, message.msg_iov->iov_len)});
}

bool SimBackend::attempt_send(SendOperation& operation) noexcept {
    std::size_t most = operation.size - operation.taken;
    const bool partial = most > 1 && chance(network_.mischief.short_send);
    if (partial) most = static_cast<std::size_t>(network_.random().between(1, most - 1));
    while (most > 0) {
        const int sent = send_part(operation, most);
        if (sent == -EAGAIN) break;
        // An error after a part has gone: the part is told, the error belongs to the next.
        if (sent < 0 && operation.taken == 0) return complete(operation, sent);
        if (sent <= 0) return complete(operation, static_cast<int>(operation.taken));
        operation.advance(static_cast<std::size_t>(sent));
        most -= static_cast<std::size_t>(sent);
    }
    if (operation.taken == operation.size) return complete(operation, static_cast<int>(operation.taken));
    if (operation.nowait) return complete(operation, operation.taken > 0 ? static_cast<int>(operation.taken) : -EAGAIN);
    heat_if_due(&operation);
    return false;
}

bool SimBackend::attempt_connect(ConnectOperation& operation) noexcept {
    const int fd = operation.endpoint->fd;
    const int outcome = std::exchange(operation.begun, true)
                            ? machine_.connect_outcome(fd)
                            : machine_.connect(fd, operation.address, operation.address_size);
    return outcome == -EINPROGRESS ? false : complete(operation, outcome);
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
