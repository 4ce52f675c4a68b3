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
#include <span>
#include <string>
#include <string_view>

CHAINRING_BEGIN_NAMESPACE

class Link;

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
    ReadOp(LinkState* link, const Kind& kind) noexcept;
    ~ReadOp() = default;
    std::error_code error() const noexcept { return error_; }
    bool begun() const noexcept { return taken_ > 0; }  // it holds a part of what it waits for

    LinkState* link_;
    const Kind* kind_;
    Limit limit_;
    union {
        std::size_t taken_ = 0;  // bytes taken from the queue so far
        Segment* chain_;         // RecvOp, once it is satisfied: what it took
    };
    [[no_unique_address]] PackedError error_;  // why it has not got what it asked for; the flags lie in its padding
    bool ignore_drain_ = false;
    bool accumulates_ = false;  // leaves bytes in the queue while it waits for more
    bool satisfied_ = false;

private:
    static void arrive(InboxNode& node) noexcept;
    bool start(FrameNode& node, std::coroutine_handle<> handle) noexcept;
};

// Bytes to be sent, in a Link's outbound queue. Home worker only, once queued.
struct SendUnit {
    enum class Kind : std::uint8_t { bytes, slices, segments, payload, end_of_stream };
    SendUnit* next = nullptr;
    void (*done)(SendUnit&, std::error_code) noexcept = nullptr;  // called once, when the unit has left the queue
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
    explicit RecvOp(detail::LinkState* link) noexcept;
    // Goes on waiting while the runtime drains, for streams whose end the peer decides (a relay).
    RecvOp&& ignore_drain() && noexcept {
        ignore_drain_ = true;
        return static_cast<RecvOp&&>(*this);
    }
    Result<Chunk> await_resume() noexcept;

private:
    static const Kind kind;
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
    std::string_view delimiter_;
    std::size_t max_;
    std::size_t searched_ = 0;  // bytes of the queue that cannot begin the delimiter
    std::size_t found_ = 0;     // where it begins
    bool too_long_ = false;
    std::string text_;
};

// A send or a shutdown_write: a unit in the outbound queue and the task that waits for it.
class [[nodiscard]] SendOp : detail::TimedWaiter, detail::SendUnit, public detail::Limited<SendOp> {
    friend class detail::Limited<SendOp>;
    friend class detail::Stoppable<SendOp>;

public:
    SendOp(detail::LinkState* link, std::span<const std::byte> bytes) noexcept;
    SendOp(detail::LinkState* link, std::span<const IoSlice> slices) noexcept;
    SendOp(detail::LinkState* link, Chunk&& chunk) noexcept;
    SendOp(detail::LinkState* link, Payload&& payload) noexcept;
    enum class EndOfStream : bool { yes };
    SendOp(detail::LinkState* link, EndOfStream) noexcept;
    SendOp(const SendOp&) = delete;
    SendOp& operator=(const SendOp&) = delete;
    ~SendOp();

    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }
    // The bytes sent: all of them, or an error.
    Result<std::size_t> await_resume() noexcept;
    // After the await: how many bytes the kernel has taken, also when it ended with an error.
    std::size_t sent() const noexcept { return SendUnit::sent; }

private:
    friend struct detail::LinkReports;
    bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    static void arrive(detail::InboxNode& node) noexcept;
    static void on_done(detail::SendUnit& unit, std::error_code error) noexcept;
    static void end_early(detail::Waiter& waiter, detail::Wake why) noexcept;

    detail::LinkState* link_;
    detail::Limit limit_;
    detail::PackedError error_;
};

// The end of a Link, awaited.
class [[nodiscard]] CloseOp : detail::TimedWaiter, public detail::Limited<CloseOp> {
    friend class detail::Limited<CloseOp>;
    friend class detail::Stoppable<CloseOp>;

public:
    explicit CloseOp(detail::LinkState* link) noexcept;
    CloseOp(const CloseOp&) = delete;
    CloseOp& operator=(const CloseOp&) = delete;
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }
    void await_resume() const noexcept {}

private:
    friend class detail::LinkState;
    friend struct detail::LinkReports;
    bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    static void arrive(detail::InboxNode& node) noexcept;
    detail::LinkState* link_;
    detail::Limit limit_;
};

CHAINRING_END_NAMESPACE
