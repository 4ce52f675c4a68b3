// SPDX-License-Identifier: BSL-1.0
// ListenerState: a listening socket on its home worker; all members are touched there only.
//
// A multishot accept is armed while fewer than `queue_limit` accepted descriptors wait. They stay in the queue until an
// accept takes them in its resume, so no claim, limit or cancel can lose one. With a limit on the rate each accept is
// armed by itself, when there is a token for it, so that the rest waits in the kernel.
//
//   open -> draining   the accept is ended, what the kernel had accepted is queued, the descriptor is closed
//   any  -> closed     the handle has gone or the tasks have: the queue is closed too
#pragma once

#include <chainring/listener.hpp>

#include "net/src/admission.hpp"
#include "runtime/src/worker.hpp"

#include <atomic>
#include <deque>
#include <memory>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

class ListenerState final : public Resource, FlushNode, TimerNode {
public:
    // Takes over a listening socket; its unix path is removed at the end. `first`: the one whose port it shares.
    static ListenerState* make(Worker& home, const ListeningSocket& socket, const Address& address,
                               const ListenOptions& options, ListenerState* first);

    const Address& address() const noexcept { return address_; }
    const ListenOptions& options() const noexcept { return options_; }
    Admission& admission() noexcept { return *admission_; }  // any thread; constant

    bool start_accept(AcceptOp& op, FrameNode& node, std::coroutine_handle<> handle) noexcept;
    void end_accept(AcceptOp& op, Wake why) noexcept;
    unsigned next_worker() noexcept;

    // See way_home.hpp.
    void task_departs() noexcept { arriving_.fetch_add(1, std::memory_order_relaxed); }  // released by the post
    void task_arrived() noexcept;

    void drop_handle() noexcept;  // any thread
    void on_stop(Stop stop) noexcept override;

private:
    static constexpr std::size_t queue_limit = 256;
    static constexpr Duration first_pause = std::chrono::milliseconds(10);
    static constexpr Duration last_pause = std::chrono::seconds(1);

    struct AcceptOperation : Operation {
        AcceptOperation(Endpoint* at, ListenerState* owner) noexcept
            : Operation(OperationKind::accept, at), listener(owner) {}
        ListenerState* listener;
    };
    struct RemoteNode : InboxNode {
        ListenerState* listener = nullptr;
    };

    ListenerState(Worker& home, const ListeningSocket& socket, const Address& address, const ListenOptions& options,
                  std::shared_ptr<Admission> admission) noexcept;
    ~ListenerState() override = default;
    void arm() noexcept;
    void on_accepted(Completion completion) noexcept;
    void on_accept_error(int error) noexcept;
    void wake_waiter(Wake why) noexcept;
    int take() noexcept;
    void settle() noexcept;
    void close_socket() noexcept;
    void close() noexcept;

    Endpoint endpoint_;
    AcceptOperation accept_;
    Address address_;
    ListenOptions options_;
    std::shared_ptr<Admission> admission_;  // constant: its own, or that of the one whose port it shares
    std::deque<int> queue_;
    AcceptOp* waiter_ = nullptr;
    Duration pause_ = first_pause;
    RemoteNode remote_node_;
    std::uint64_t path_inode_;
    unsigned next_worker_ = 0;
    bool draining_ = false;
    bool closing_ = false;
    bool released_ = false;
    std::atomic<std::uint32_t> arriving_{0};
};

ListenRequest listen_request(const Address& address) noexcept;  // refers to `address`

}  // namespace detail
CHAINRING_END_NAMESPACE
