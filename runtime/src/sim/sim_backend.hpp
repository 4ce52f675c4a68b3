// SPDX-License-Identifier: BSL-1.0
// SimBackend: a worker's backend over a simulated machine. Several workers of a machine have one each; all of them, and
// their network, run on one thread, and the world's driver steps them. wait() never waits: the driver looks at ready()
// and, when nobody is, lets the Timeline go on.
//
// It does whatever the Backend's contract and io_uring's behaviour allow, as the seed decides (see Mischief):
//   - completions of a poll come in any order, some of them only in the next poll; one at least comes
//   - a receive takes less than there is; a multishot one ends by itself, with -ENOBUFS or -EINTR, too
//   - a send takes a part: with `nowait` it completes with that, else it goes on
//   - a cancel takes effect a while later, and may find that the operation has succeeded
//
// An operation is in a slot of its descriptor from submit() to its terminal completion, and in `hot_` while there may
// be something to deliver; Operation::pending says so. The network tells through changed() that something may be.
//
// When the machine's process is killed (Machine::incarnation moves on), the backend is severed: its operations end with
// -ECANCELED, and the system is out of its reach. So the dead process's memory can be taken down in an orderly way that
// nobody in the world sees.
#pragma once

#include "runtime/src/backend.hpp"
#include "runtime/src/sim/machine.hpp"
#include "runtime/src/sim/timeline.hpp"

#include <cstddef>
#include <cstdint>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

// Free buffers, the one that came back last first.
class SimPool final : public BufferPool {
public:
    SimPool(unsigned count, unsigned buffer_size);
    bool empty() const noexcept { return free_.empty(); }
    unsigned take() noexcept;
    std::span<std::byte> room(unsigned index) noexcept;  // for the bytes that are about to be lent

protected:
    void recycle(unsigned index) noexcept override;

private:
    std::vector<std::uint16_t> free_;  // capacity for all: never grows
};

class SimBackend final : public Backend, Watcher {
public:
    // The time is the Timeline's, or that of `options.clock`. The machine outlives the backend.
    SimBackend(Machine& machine, const BackendOptions& options);
    ~SimBackend() override;

    std::string_view name() const noexcept override { return "sim"; }
    void attach() override {}
    void detach() noexcept override {}

    void submit(Operation& operation) noexcept override;
    void submit_unawaited(SendOperation& send) noexcept override { submit(send); }
    void cancel(Operation& operation) noexcept override;
    void poll() noexcept override;
    void wait(Instant deadline) noexcept override;
    bool spin() noexcept override;
    void wake() noexcept override;
    Instant now() const noexcept override;
    Instant coarse_now() const noexcept override;
    BufferPool& buffers() noexcept override { return pool_; }

    Result<int> open_stream(int family) noexcept override;
    Result<ListeningSocket> listen(const ListenRequest& request) noexcept override;
    void remove_path(const ListenRequest& request, std::uint64_t inode) noexcept override;
    Result<int> accept_now(int listener) noexcept override;
    int connect_now(int fd, const sockaddr* address, socklen_t size) noexcept override;
    void adopt(int fd) noexcept override;
    void close(Endpoint& endpoint) noexcept override;
    void close_unused(int fd) noexcept override;
    int release(Endpoint& endpoint) noexcept override;
    int shutdown_write(int fd) noexcept override;
    int try_recv(int fd, std::span<std::byte> into) noexcept override;
    void reset_on_close(int fd) noexcept override;
    int local_name(int fd, sockaddr_storage& name, socklen_t& size) const noexcept override;
    int peer_name(int fd, sockaddr_storage& name, socklen_t& size) const noexcept override;

    // Accepted and without effect: connections here are neither kept alive nor tuned. Descriptors from elsewhere are
    // refused (kind_of's ENOTSUP).
    int set_option(int, SocketSetting) const noexcept override { return 0; }

    // The names are those of the world's machines, and localhost.
    bool resolve_here(const std::string& host, ResolvedName& answer) noexcept override;

    // For the driver: a poll has something to look at, or wake() was called since the last one.
    bool ready() const noexcept { return woken_ || !hot_.empty() || (severed() && in_flight() > 0); }
    // For a process that was killed: from here on `clock` is its time.
    void live_by(const Instant& clock) noexcept { own_clock_ = &clock; }
    bool severed() const noexcept { return machine_.incarnation() != incarnation_; }
    Machine& machine() const noexcept { return machine_; }

private:
    static constexpr unsigned most_in_a_row = 32;  // completions of a multishot operation in one poll, as io_uring's

    struct Slot {
        Operation* reader = nullptr;  // accept or recv
        Operation* writer = nullptr;  // send or connect
    };
    struct Cancel {
        Operation* operation;
        Instant effective;
    };
    struct CancelTimer : TimedEvent {
        explicit CancelTimer(SimBackend& of) noexcept;
        SimBackend& backend;
    };

    void changed(int fd) noexcept override;
    bool is_known(int fd) const noexcept { return !severed() && machine_.is_open(fd); }
    Operation** slot_of(const Operation& operation) noexcept;
    bool may_complete(const Operation& operation) const noexcept;
    void heat(Operation& operation) noexcept;
    void heat_if_due(Operation* operation) noexcept;

    void deliver_hot() noexcept;
    void end_all() noexcept;
    bool cancelled(const Operation& operation) const noexcept;
    void cancels_fall_due() noexcept;
    bool chance(unsigned of_thousand) noexcept;

    // sim_operations.cpp. True if something was delivered.
    bool attempt(Operation& operation) noexcept;
    bool attempt_accept(Operation& operation) noexcept;
    bool attempt_recv(Operation& operation) noexcept;
    bool attempt_send(SendOperation& operation) noexcept;
    bool attempt_connect(ConnectOperation& operation) noexcept;
    bool end_cancelled(Operation& operation) noexcept;
    bool complete(Operation& operation, int result, bool more = false, Segment* segment = nullptr) noexcept;
    int send_part(SendOperation& operation, std::size_t most) noexcept;

    Machine& machine_;
    Network& network_;
    const ManualClock* manual_clock_;
    const Instant* own_clock_ = nullptr;
    std::uint32_t incarnation_;
    SimPool pool_;
    bool woken_ = false;
    std::vector<Slot> slots_;          // by descriptor
    std::vector<Operation*> hot_;      // may have something to deliver in the next poll
    std::vector<Operation*> batch_;    // those that this poll looks at
    std::vector<Cancel> cancels_;      // asked for, and not ended
    CancelTimer cancel_timer_{*this};  // the next that takes effect
};

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
