// SPDX-License-Identifier: BSL-1.0
// LinkState: a connection's slot, what the handles (Link, Outbox) point to. It lives on its home worker; every member
// is touched by that worker only, except those marked "any thread": a task that is elsewhere goes home to begin an
// operation.
//
//   open      -> flushing   close(), the last handle of a served Link has gone, or it was idle: what is queued is sent
//   flushing  -> lingering  a graceful end only: FIN is sent, what the peer still sends is discarded until its FIN or
//                           the timer
//   (any)     -> ending     abort, an error while closing, or nothing left to do: armed operations are being ended
//   ending    -> closed     the last terminal completion has come: the descriptor is closed
//   closed    -> freed      no handle is left; in the flush of that pass, never inside a completion
//
// One byte in: the kernel fills a buffer of the worker's pool; on_recv() queues its segment and runs the waiting
// receive's step; the task resumes in the same pass. One byte out: send() queues a unit; flush(), once per pass,
// gathers units into one send operation; on_sent() completes those that have gone. A forward is begun at once, without
// a unit, when nothing is to go before it; what the kernel does not take of it becomes one.
//
// Lent bytes never wait for the network: a gather that holds any is sent without waiting (MSG_DONTWAIT), and what the
// kernel refuses is copied out before it is tried again. Unread segments are copied out (spilled) when they are small
// and have not been received by the end of the pass, or the pool is scarce.
//
// Handles. `handles_` counts them (any thread). Whoever drops the last one, posts to an Outbox or aborts from another
// thread sets a bit in `remote_` and, if no bit was set, posts its inbox node to home; home takes all bits at once. The
// slot is freed by home, after it has seen `released`; when the runtime is gone, by the last handle itself.
#pragma once

#include <chainring/address.hpp>
#include <chainring/link.hpp>
#include <chainring/spin_lock.hpp>
#include <chainring/trap.hpp>

#include "runtime/src/worker.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <string>
#include <system_error>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

struct LinkLimits;
struct Posts;

// The operations and list nodes of a Link are its bases, so that each finds its way back without a pointer.
struct LinkRecv : Operation {
    using Operation::Operation;
};
struct LinkSend : SendOperation {
    using SendOperation::SendOperation;
};

// What each message touches of a Link beside its operations and its timer: close together, for thousands of Links take
// turns in the caches. All of it lies in the first 256 bytes of the slot.
struct LinkQueues {
    enum class Phase : std::uint8_t { open, flushing, lingering, ending, closed };
    enum class ReadSide : std::uint8_t { open, eof, failed };

    ReadOp* reader_ = nullptr;
    Segment* unread_head_ = nullptr;
    Segment* unread_tail_ = nullptr;
    std::size_t unread_bytes_ = 0;

    SendUnit* out_head_ = nullptr;
    SendUnit* out_tail_ = nullptr;
    std::atomic<Posts*> posts_{nullptr};  // any thread; made by the first outbox(), before any Outbox exists
    PackedError write_error_;             // set: nothing more can be sent
    std::uint32_t gathered_ = 0;          // units at the head of the queue that the send in flight covers

    Phase phase_ : 3 = Phase::open;
    ReadSide read_side_ : 2 = ReadSide::open;
    bool draining_ : 1 = false;
    bool served_ : 1 = false;
    bool graceful_ : 1 = false;  // closing: the peer's end is waited for
    bool timed_ : 1 = false;     // and nobody else limits that: linger_time does
    bool fin_sent_ : 1 = false;
    bool write_ends_ : 1 = false;      // a half close is queued, or was sent, or sending has failed
    bool released_ : 1 = false;        // home has seen the end of the last handle
    bool looked_ : 1 = false;          // draining: what had arrived unread was taken
    bool reader_kept_up_ : 1 = false;  // it was waiting when the last data came
    bool has_lent_ : 1 = false;        // the unread segments may hold lent buffers
    bool holds_small_ : 1 = false;     // among them small ones: copied in the flush of this pass, if still unread
    bool stamps_ : 1 = false;          // each segment is given the time of its arrival
    std::uint8_t idle_on_ : 2 = 0;     // Activity that renews the limit on being idle; none: there is no limit
    bool sent_short_ : 1 = false;      // the last send: see on_sent_in_part()
};
struct LinkEndpoint {
    Endpoint endpoint_;  // its descriptor comes first
};

class LinkState final : public Resource,
                        LinkRecv,
                        LinkSend,
                        LinkQueues,
                        RenewedTimer,
                        LinkEndpoint,
                        FlushNode,
                        StarvedNode,
                        InboxNode {
public:
    static constexpr std::size_t read_ahead = 64 * 1024;  // unread bytes above which a Link stops reading
    // What one waiting receive is given of a burst, at most. A receiver that keeps up is read for so far at a time.
    static constexpr std::size_t most_handed_over = 4 * read_ahead;
    // A graceful end that nobody awaits: how long the peer may take for its FIN, and without taking any byte.
    static constexpr Duration linger_time = std::chrono::seconds(5);

    // Takes over a connected descriptor, in the backend's mode. On `home`. One handle is counted. The descriptor is
    // closed if this throws (std::bad_alloc).
    static LinkState* adopt(Worker& home, int fd);
    // The same, but the descriptor stays the caller's if this throws.
    static LinkState* take_over(Worker& home, int fd) { return new LinkState(home, fd); }

    static void* operator new(std::size_t bytes) { return allocate_frame(bytes); }
    static void operator delete(void* memory, std::size_t bytes) noexcept { free_frame(memory, bytes); }

    // ---- handles; any thread
    void add_handle() noexcept { handles_.fetch_add(1, std::memory_order_relaxed); }
    void drop_handle() noexcept;                    // an Outbox's
    void drop_link_handle() noexcept;               // the Link's own: also ends the connection
    void task_departs() noexcept { add_handle(); }  // see way_home.hpp
    void task_arrived() noexcept { drop_handle(); }
    void request_abort() noexcept;
    void accept_posts(const OutboxOptions& options);           // by the Link's owner; throws std::bad_alloc
    Posted post(PayloadBlock* payload);                        // takes one count over; throws std::bad_alloc
    void close_when_idle(Duration duration, IdleMeans means);  // throws std::bad_alloc
    void force_close_after(Duration duration);                 // so too
    void posts_are_waiting() noexcept { signal(remote_posts); }
    Posts& posts() const noexcept { return *posts_.load(std::memory_order_acquire); }  // after accept_posts

    // ---- home worker
    void close_gracefully_when_dropped() noexcept { served_ = true; }
    // For the running task: whether it is here.
    bool at_home(const TaskContext& task) const noexcept { return task.worker() == &home(); }
    // Any thread. 0 when the home worker is gone.
    unsigned home_index() const noexcept { return orphaned() ? 0 : home().index(); }
    // The address of one end. Any thread that has a handle.
    using GetName = int (Backend::*)(int fd, sockaddr_storage& name, socklen_t& size) const noexcept;
    Result<Address> name(GetName get_name) const noexcept;
    Result<TcpInfo> tcp_info() const noexcept;  // the same threads
    bool is_open() const noexcept { return phase_ == Phase::open; }

    // Receiving. start_read: true when the task is to suspend.
    bool start_read(ReadOp& op, FrameNode& node, std::coroutine_handle<> handle) noexcept;
    void end_read(ReadOp& op, Wake why) noexcept;
    std::error_code read_error(Wake why) const noexcept;
    std::size_t unread() const noexcept { return unread_bytes_; }
    const Segment* first_unread() const noexcept { return unread_head_; }
    Segment* take_all_unread() noexcept {
        if (home().buffers().scarce()) [[unlikely]]
            spill_lent();  // a Chunk may be kept for long
        has_lent_ = holds_small_ = false;
        unread_bytes_ = 0;
        unread_tail_ = nullptr;
        return std::exchange(unread_head_, nullptr);
    }
    std::size_t take_unread(std::span<std::byte> into) noexcept;  // copies out, at most all
    std::size_t copy_unread(std::span<std::byte> into) const noexcept;
    void put_back(std::span<const std::byte> bytes, Instant arrived);  // in front of everything unread

    // Sending.
    // Whether a chain can be sent without its sender's waiting: nothing has to go before, and it is one segment that
    // this worker has lent. Then send_unawaited() takes it over and begins to send it.
    bool can_send_unawaited(const Segment* chain) noexcept;
    void send_unawaited(Segment& segment) noexcept;
    void enqueue(SendUnit& unit) noexcept {
        // What was posted before goes before.
        if (unit.kind == SendUnit::Kind::end_of_stream) [[unlikely]]
            half_close_posts();
        else
            queue_posts(TakePosts::all);
        append(unit);
    }
    bool unlink_unsent(SendUnit& unit) noexcept;  // false: the kernel has it, or a part has gone
    void interrupt(SendUnit& unit, Wake why) noexcept;
    std::error_code write_error() const noexcept { return write_error_; }

    // Ending.
    void begin_close(CloseWait* closer) noexcept;
    void close_no_longer() noexcept;  // the closer waits no more
    void abort() noexcept;
    void on_idle() noexcept;
    bool closed() const noexcept { return phase_ == Phase::closed; }

    void describe(std::string& out) const;  // "Link 127.0.0.1:7000 from 127.0.0.1:51234 (fd 9)"

    void on_stop(Stop stop) noexcept override;

private:
    enum RemoteBits : std::uint8_t {
        remote_posts = 1,
        remote_abort = 2,
        remote_link_dropped = 4,
        remote_released = 8,
        remote_idle = 16,
        remote_force = 32
    };
    enum Activity : std::uint8_t { received = 1, sent = 2 };
    static constexpr std::size_t spill_small = 2048;  // an unread segment up to this is copied, not kept lent

    LinkState(Worker& home, int fd) noexcept;
    ~LinkState() override;

    // Receiving (link_recv.cpp, and link_unread.cpp for the queue)
    void arm_recv() noexcept;
    void last_look() noexcept;
    void end_idle_reader() noexcept;
    void want_data() noexcept;
    bool reading_allowed() const noexcept;
    void pause_recv() noexcept;
    void on_recv(Completion completion) noexcept;
    [[gnu::noinline]] void on_recv_otherwise(Completion completion) noexcept;
    void on_recv_ended(Completion completion) noexcept;
    void append_unread(Segment* segment) noexcept;
    bool hand_over(Segment& segment) noexcept;
    bool hand_more(Segment& segment) noexcept;
    void queue_segment(Segment* segment) noexcept;
    void spill(const Segment& segment) noexcept;
    void stamp_arrivals() noexcept;
    void spill_lent(std::size_t largest = std::numeric_limits<std::size_t>::max()) noexcept;
    void drop_unread() noexcept;
    void connection_lost(int error) noexcept;  // a send was told
    void doubt_end() noexcept;
    void end_read_side(ReadSide side, int error) noexcept;
    void advance_reader() noexcept;
    [[gnu::noinline]] bool look_for_data(ReadOp& op, FrameNode& node, std::coroutine_handle<> handle) noexcept;
    [[gnu::noinline]] bool prepare_wait(ReadOp& op) noexcept;
    bool refuse(ReadOp& op, Wake why) noexcept;
    // From here on the operation carries its outcome; the task may go on anywhere, and the slot may go.
    void settle(ReadOp& op, Wake why) noexcept {
        if (!op.satisfied_) op.error_ = read_error(why);
        if (op.kind_->settle) op.kind_->settle(op);
    }
    void wake_reader(Wake why) noexcept;
    void on_timer() noexcept;

    // Sending (link_send.cpp)
    void flush_out() noexcept;
    void await_again(Segment& segment, Completion completion) noexcept;  // link_forward.cpp
    bool gather() noexcept;
    void on_sent(Completion completion) noexcept;
    void on_sent_in_part(Completion completion) noexcept;
    void consume(std::size_t bytes) noexcept;
    void everything_went(SendUnit& unit) noexcept;
    void finish_front(PackedError error) noexcept;
    void copy_out_lent() noexcept;
    void copy_out_waiting() noexcept;
    void fail_writes(std::error_code error) noexcept;
    void settle_interrupted() noexcept;
    void append(SendUnit& unit) noexcept {
        if (!send_op().armed)
            home().flush_later(*this);
        else if (!send_op().nowait)
            copy_out(unit);  // it would wait behind a send that waits for the network
        else
            expect_sent();
        unit.next = nullptr;
        (out_tail_ ? out_tail_->next : out_head_) = &unit;
        out_tail_ = &unit;
    }
    static void copy_out(SendUnit& unit) noexcept;
    // Something waits for the end of the send in flight.
    void expect_sent() noexcept {
        if (send_op().unawaited) home().backend().expect(send_op());
    }

    // Posts (link_posts.cpp)
    enum class TakePosts : std::uint8_t { early, now, all };  // as OutboxCore has it
    // Moves what was posted behind the queue.
    void queue_posts(TakePosts moment) noexcept {
        if (Posts* const posted = posts_.load(std::memory_order_acquire)) queue_posts(*posted, moment);
    }
    void queue_posts(Posts& posts, TakePosts moment) noexcept;
    bool posts_waiting() const noexcept {
        const Posts* const posted = posts_.load(std::memory_order_acquire);
        return posted && any_waiting(*posted);
    }
    static bool any_waiting(const Posts& posts) noexcept;
    void look_at_posts() noexcept;
    void refuse_posts() noexcept;
    void half_close_posts() noexcept;
    void reopen_posts() noexcept;
    void end_posts() noexcept;

    // Life (link_state.cpp)
    void signal(std::uint8_t bits) noexcept;
    void on_remote(std::uint8_t bits) noexcept;
    void link_dropped() noexcept;
    void close_gently(Wake reader_ends) noexcept;
    void begin_graceful_end(Wake reader_ends) noexcept;
    void flushed() noexcept;
    void end() noexcept;
    void finish_end() noexcept;
    void flush_node() noexcept;
    bool may_free() const noexcept;

    // Limits (link_limits.cpp)
    LinkLimits& limits();
    void take_limits(std::uint8_t bits) noexcept;
    void note_activity(Activity what) noexcept {
        if (idle_on_ & what) [[unlikely]]
            renew_idle();
    }
    void renew_idle() noexcept;
    void cancel_limits() noexcept;

    LinkRecv& recv_op() noexcept { return *this; }
    LinkSend& send_op() noexcept { return *this; }
    const LinkRecv& recv_op() const noexcept { return *this; }
    RenewedTimer& timer() noexcept { return *this; }

    int read_errno_ = 0;  // of a read side that has failed, or is going to: see connection_lost()
    CloseWait* closer_ = nullptr;
    std::atomic<LinkLimits*> limits_{nullptr};  // any thread; made by the first that asks for one
    std::atomic<std::uint32_t> handles_{1};     // any thread
    bool stall_check_ = false;                  // flushing: the send was cancelled to see whether any of it has gone
    mutable SpinLock closing_;                  // held while the descriptor is closed, or used by another thread
    std::atomic<std::uint8_t> remote_{0};       // any thread: what home has to look at
};

void register_link_reports() noexcept;  // link_reports.cpp

}  // namespace detail
CHAINRING_END_NAMESPACE
