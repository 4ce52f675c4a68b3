// SPDX-License-Identifier: BSL-1.0
// The awaitables of Link. Users write link.recv(), link.send(data) and so on; what each does is said in link.hpp.
// They live in the awaiting coroutine's frame and allocate nothing. All take .within(duration) and .until(instant) and
// obey the cancellation of their task.
#pragma once

#include <chainring/chunk.hpp>
#include <chainring/config.hpp>
#include <chainring/errc.hpp>
#include <chainring/payload.hpp>
#include <chainring/result.hpp>
#include <chainring/time.hpp>

#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

class Link;

// When a Link counts as idle; see Link::close_when_idle.
enum class IdleMeans : std::uint8_t {
    nothing_received,          // from the peer
    nothing_received_or_sent,  // sent: taken by the kernel
};

// One piece of a vectored send.
struct IoSlice {
    constexpr IoSlice() noexcept = default;
    constexpr IoSlice(std::span<const std::byte> piece) noexcept : bytes(piece) {}
    IoSlice(std::string_view text) noexcept : bytes(as_bytes(text)) {}
    std::span<const std::byte> bytes;
};

namespace detail {

class LinkState;
struct LinkReports;

// A suspended receive, published in its Link. It begins and ends at the Link's home, and carries its outcome from there
// to wherever its task goes on.
class ReadOp : public Waiter {
public:
    ReadOp(const ReadOp&) = delete;
    ReadOp& operator=(const ReadOp&) = delete;
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }

protected:
    friend class LinkState;
    friend struct LinkReports;
    struct Kind {
        bool (*step)(ReadOp&) noexcept;  // takes what it can from the Link's queue; true: it has all that it asked for
        // Once, at the end of the wait: makes a result of what was found, or gives back what was taken. May be null.
        void (*settle)(ReadOp&) noexcept;
    };
    ReadOp(LinkState* link, const Kind& kind) noexcept : link_(link), kind_(&kind) {
        cancel = end_early;
        waits_in = WaitKind::recv;
    }
    ~ReadOp() = default;
    std::error_code error() const noexcept { return error_; }
    bool begun() const noexcept { return taken_ > 0; }  // it holds a part of what it waits for

    LinkState* link_;
    const Kind* kind_;
    union {
        Limit limit_{};      // of the wait
        std::size_t bytes_;  // RecvOp, once it is satisfied: in its chain
    };
    union {
        std::size_t taken_ = 0;  // bytes taken from the queue so far
        Segment* chain_;         // RecvOp, once it is satisfied: what it took
    };
    [[no_unique_address]] PackedError error_;  // why it has not got what it asked for; the flags lie in its padding
    bool ignore_drain_ : 1 = false;
    bool accumulates_ : 1 = false;  // leaves bytes in the queue while it waits for more
    bool satisfied_ : 1 = false;
    bool stamps_ : 1 = false;  // wants to know when its bytes have arrived
    bool plain_ : 1 = false;   // a RecvOp without the next one, and not stamped: takes all there is, as it is
    bool short_bursts_ : 1 = false;
    std::uint8_t unused_ : 2 = 0;  // so that they are set together

private:
    static void arrive(InboxNode& node) noexcept;
    static void end_early(Waiter& waiter, Wake why) noexcept;
    bool start(FrameNode& node, std::coroutine_handle<> handle) noexcept;
};

struct Segment;

// Looks for a delimiter in a queue of segments that grows at its end, each time from where the last look ended: what a
// look costs does not depend on how much was looked at before. delimiter_search.cpp says how.
class DelimiterSearch {
public:
    DelimiterSearch(std::string_view delimiter, std::size_t max) noexcept : delimiter_(delimiter), max_(max) {}
    // The queue begins with `first` and holds `bytes`. True when the search is over: the delimiter was found, or too
    // many bytes have come before it.
    bool look(const Segment* first, std::size_t bytes) noexcept;
    std::string_view delimiter() const noexcept { return delimiter_; }
    std::size_t found_at() const noexcept { return found_at_; }  // bytes in front of it
    bool too_long() const noexcept { return too_long_; }
    const Segment* resumes_at() const noexcept { return resume_; }  // where the next look begins; null: at the first

private:
    bool found(std::size_t at) noexcept;
    std::string_view delimiter_;
    std::size_t max_;
    std::size_t searched_ = 0;  // bytes of the queue that cannot begin the delimiter
    std::size_t found_at_ = 0;
    const Segment* resume_ = nullptr;  // a heap segment: those stay where they are as long as they are unread
    std::size_t resume_start_ = 0;     // the position of its first byte in the queue
    bool too_long_ = false;
};

// Bytes to be sent, in a Link's outbound queue. Home worker only, once queued.
struct SendUnit {
    // The last two own their source.
    enum class Kind : std::uint8_t { bytes, slices, end_of_stream, segments, payload };
    SendUnit* next = nullptr;
    void (*done)(SendUnit&, PackedError) noexcept = nullptr;  // called once, when the unit has left the queue
    const void* source = nullptr;         // std::byte, IoSlice or Segment: the part that is still to go; PayloadBlock
    std::size_t left = 0;                 // bytes still to go
    std::size_t sent = 0;                 // bytes that the kernel has taken
    std::uint64_t slice_offset : 48 = 0;  // slices: into the first; payload: into it
    Kind kind = Kind::bytes;
    Wake ending = Wake::none;  // asked to end early while the kernel had it
};

}  // namespace detail

class [[nodiscard]] RecvOp : public detail::ReadOp, public detail::Limited<RecvOp> {
    friend class detail::Limited<RecvOp>;
    friend class detail::Stoppable<RecvOp>;

public:
    explicit RecvOp(detail::LinkState* link) noexcept : ReadOp(link, kind) { plain_ = true; }
    // Goes on waiting while the runtime drains, for streams whose end the peer decides (a relay).
    RecvOp&& ignore_drain() && noexcept {
        ignore_drain_ = true;
        return static_cast<RecvOp&&>(*this);
    }
    // Has the Link read the clock at each arrival from now on, so that Chunk::arrived() tells when its bytes came. What
    // is unread already counts as arrived now; after a Link's first receive nothing is, if that was stamped.
    RecvOp&& stamped() && noexcept {
        stamps_ = true;
        plain_ = false;
        return static_cast<RecvOp&&>(*this);
    }
    // The Link then reads less at a time of what comes together: Chunks have about 128 KiB at most, instead of 256, and
    // mostly far less (with receive buffers of 16 KiB; before Linux 6.17 io_uring bounds neither). For those who wait
    // before they receive again (for tokens of a rate), so that the bytes flow evenly.
    RecvOp&& in_short_bursts(bool wanted = true) && noexcept {
        if (wanted) {
            short_bursts_ = true;
            plain_ = false;
        }
        return static_cast<RecvOp&&>(*this);
    }
    Result<Chunk> await_resume() noexcept {
        if (!satisfied_) return error();
        return Chunk(chain_, bytes_);
    }

private:
    friend class detail::LinkState;
    static const Kind kind;
    void take(detail::Segment* chain, std::size_t bytes) noexcept {
        chain_ = chain;
        bytes_ = bytes;
        satisfied_ = true;
    }
};

class [[nodiscard]] RecvIntoOp : public detail::ReadOp, public detail::Limited<RecvIntoOp> {
    friend class detail::Limited<RecvIntoOp>;
    friend class detail::Stoppable<RecvIntoOp>;

public:
    RecvIntoOp(detail::LinkState* link, std::span<std::byte> into) noexcept;
    Result<std::size_t> await_resume() noexcept;

private:
    static const Kind kind;
    std::span<std::byte> into_;
};

class [[nodiscard]] RecvExactOp : public detail::ReadOp, public detail::Limited<RecvExactOp> {
    friend class detail::Limited<RecvExactOp>;
    friend class detail::Stoppable<RecvExactOp>;

public:
    RecvExactOp(detail::LinkState* link, std::span<std::byte> into) noexcept;
    Result<void> await_resume() noexcept;

private:
    static const Kind kind;
    std::span<std::byte> into_;
    Instant arrived_{};  // of what it has taken, in case that is put back
};

class [[nodiscard]] PeekOp : public detail::ReadOp, public detail::Limited<PeekOp> {
    friend class detail::Limited<PeekOp>;
    friend class detail::Stoppable<PeekOp>;

public:
    PeekOp(detail::LinkState* link, std::span<std::byte> into, std::size_t at_least) noexcept;
    Result<std::size_t> await_resume() noexcept;

private:
    static const Kind kind;
    std::span<std::byte> into_;
    std::size_t at_least_;
};

class [[nodiscard]] RecvUntilOp : public detail::ReadOp, public detail::Limited<RecvUntilOp> {
    friend class detail::Limited<RecvUntilOp>;
    friend class detail::Stoppable<RecvUntilOp>;

public:
    RecvUntilOp(detail::LinkState* link, std::string_view delimiter, std::size_t max) noexcept;
    Result<std::string> await_resume() noexcept;

private:
    friend class detail::LinkState;
    static const Kind kind;
    static bool step(detail::ReadOp& op) noexcept;
    static void settle(detail::ReadOp& op) noexcept;
    detail::DelimiterSearch search_;
    std::string text_;
};

// A send or a shutdown_write: a unit in the outbound queue and the task that waits for it.
class [[nodiscard]] SendOp : detail::TimedWaiter, detail::SendUnit, public detail::Limited<SendOp> {
    friend class detail::Limited<SendOp>;
    friend class detail::Stoppable<SendOp>;

public:
    SendOp(detail::LinkState* link, std::span<const std::byte> bytes) noexcept;
    SendOp(detail::LinkState* link, std::span<const IoSlice> slices) noexcept;
    SendOp(detail::LinkState* link, Chunk&& chunk) noexcept
        : SendOp(link, std::exchange(chunk.first_, nullptr), std::exchange(chunk.size_, 0)) {}
    SendOp(detail::LinkState* link, Payload&& payload) noexcept;
    enum class EndOfStream : bool { yes };
    SendOp(detail::LinkState* link, EndOfStream) noexcept;
    SendOp(const SendOp&) = delete;
    SendOp& operator=(const SendOp&) = delete;
    ~SendOp() {
        if (kind >= Kind::segments && source) drop_source();
    }

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }
    // The bytes sent: all of them, or an error.
    Result<std::size_t> await_resume() noexcept {
        if (error_) return std::error_code(error_);
        return SendUnit::sent;
    }
    // After the await: how many bytes the kernel has taken, also when it ended with an error.
    std::size_t sent() const noexcept { return SendUnit::sent; }

protected:
    // Before it begins: it will send nothing and yield this error.
    void refuse(Errc error) noexcept { error_ = error; }

private:
    friend struct detail::LinkReports;
    friend class ForwardOp;
    SendOp(detail::LinkState* link, detail::Segment* chain, std::size_t bytes) noexcept : link_(link) {
        source = chain;
        left = bytes;
        kind = Kind::segments;
    }
    bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    static void arrive(detail::InboxNode& node) noexcept;
    void drop_source() noexcept;
    static void on_done(detail::SendUnit& unit, detail::PackedError error) noexcept;
    static void end_early(detail::Waiter& waiter, detail::Wake why) noexcept;

    detail::LinkState* link_;
    detail::Limit limit_;
    detail::PackedError error_;
};

// A forward: as a rule it hands its bytes over and is done; when it has to wait it becomes a send. Takes no stop token.
// It owns the bytes until the Link has taken them, which happens at home, where the task goes on at once; from then on
// a cancel no longer reaches them. One that came before refuses the forward, and the bytes go back; one that comes
// while it waits ends it as it ends a send.
class [[nodiscard]] ForwardOp {
public:
    ForwardOp(detail::LinkState* link, Chunk&& chunk) noexcept
        : given_{reinterpret_cast<std::uintptr_t>(link) | 1,
                 std::exchange(chunk.first_, nullptr),
                 std::exchange(chunk.size_, 0),
                 {}} {}
    ForwardOp(const ForwardOp&) = delete;
    ForwardOp& operator=(const ForwardOp&) = delete;
    ~ForwardOp() {
        if (is_send() || given_.chain) [[unlikely]]
            clear();
    }

    ForwardOp&& within(Duration duration) && noexcept {
        given_.limit.within(duration);
        return static_cast<ForwardOp&&>(*this);
    }
    ForwardOp&& until(Instant instant) && noexcept {
        given_.limit.until(instant);
        return static_cast<ForwardOp&&>(*this);
    }

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }
    // The bytes handed over: all of them, or an error.
    Result<std::size_t> await_resume() noexcept {
        if (is_send()) [[unlikely]]
            return send_.await_resume();
        return given_.size;
    }

private:
    struct Given {
        std::uintptr_t tagged_link;  // odd
        detail::Segment* chain;      // null: it was taken
        std::size_t size;
        detail::Limit limit;
    };
    // The two begin with a pointer, and only that of `given_` is odd: a flag of its own would cost each echo eight
    // bytes, and with them a size class.
    bool is_send() const noexcept {
        std::uintptr_t first = 0;
        std::memcpy(&first, static_cast<const void*>(this), sizeof first);
        return (first & 1) == 0;
    }
    detail::LinkState* link() const noexcept { return reinterpret_cast<detail::LinkState*>(given_.tagged_link - 1); }
    SendOp& become_send() noexcept;
    bool wait(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    void clear() noexcept;

    union {  // that the send is not made is what makes a forward cheap
        Given given_;
        SendOp send_;
    };
};

namespace detail {

// The end of a Link, awaited.
class CloseWait : public TimedWaiter {
public:
    CloseWait(const CloseWait&) = delete;
    CloseWait& operator=(const CloseWait&) = delete;
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }

protected:
    friend class LinkState;
    friend struct LinkReports;
    CloseWait(LinkState* link, bool graceful) noexcept;
    ~CloseWait() = default;
    bool start(FrameNode& node, std::coroutine_handle<> handle) noexcept;
    static void arrive(InboxNode& node) noexcept;

    LinkState* link_;
    Limit limit_;
    const bool graceful_;      // waits for the peer's end
    bool peer_ended_ = false;  // and everything has been sent
};

}  // namespace detail

class [[nodiscard]] CloseOp : public detail::CloseWait, public detail::Limited<CloseOp> {
    friend class detail::Limited<CloseOp>;
    friend class detail::Stoppable<CloseOp>;

public:
    explicit CloseOp(detail::LinkState* link) noexcept : CloseWait(link, false) {}
    void await_resume() const noexcept {}
};

class [[nodiscard]] GracefulCloseOp : public detail::CloseWait, public detail::Stoppable<GracefulCloseOp> {
    friend class detail::Stoppable<GracefulCloseOp>;

public:
    GracefulCloseOp(detail::LinkState* link, Duration timeout) noexcept : CloseWait(link, true) {
        limit_.within(timeout);
    }
    bool await_resume() const noexcept { return peer_ended_; }
};

CHAINRING_END_NAMESPACE
