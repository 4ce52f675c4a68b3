// SPDX-License-Identifier: BSL-1.0
// Framed<Codec>: messages over a Link. The codec (see codec.hpp) says where a message begins and ends.
//
//     Task<> answer(Link link) {
//         Framed<LengthPrefixed> framed(link);
//         while (auto message = co_await framed.recv().within(30s)) {
//             auto sent = co_await framed.send(reply_to(message->bytes()));
//             if (!sent) break;
//         }
//     }
//
// Lifetime. A Framed borrows the Link, which must outlive it; the Link handle may be moved meanwhile. A message is lent
// until the next receive is awaited: copy what is to be kept. Destroying a Framed drops what it had taken from the Link
// and not yielded; take_rest() hands that over, for a stream whose framing ends or changes.
//
// Receiving. One at a time, and nobody receives from the Link itself meanwhile. A message that lies in one receive
// buffer is lent from there; one that came in several is copied once. Messages that came together are yielded one after
// the other without suspending, on whatever worker the task is, and without allocating. Nothing more is taken from the
// Link until they are used up. So one Framed holds at most max_frame() bytes and one Link's read-ahead (64 KiB, a burst
// more at times); between messages, when nothing has come, it holds nothing.
//
// Sending. Any number of senders, of Framed, Link and Outbox; each message with its header and trailer is one unit, in
// the order of the calls.
//
// Ends and errors of a receive, beside those of the Link (timed_out, cancelled, closed, shutting_down, errno):
//   eof                the stream ended between two frames
//   unexpected_eof     it ended inside a frame
//   message_too_large, malformed_frame, or what else the codec says: the stream has no further frames, and every later
//                      receive yields the same. End the Link; in serve, returning closes it in order.
// A receive that a limit or cancel ends keeps the part of a frame that has come, and the next one goes on from there.
// While the runtime drains, a message that has begun is waited for; otherwise the receive ends with shutting_down.
#pragma once

#include <chainring/byte_writer.hpp>
#include <chainring/chunk.hpp>
#include <chainring/codec.hpp>
#include <chainring/config.hpp>
#include <chainring/errc.hpp>
#include <chainring/frame_source.hpp>
#include <chainring/link.hpp>
#include <chainring/link_operations.hpp>
#include <chainring/result.hpp>
#include <chainring/time.hpp>
#include <chainring/trap.hpp>

#include <array>
#include <coroutine>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

// See Framed::recv.
class [[nodiscard]] FramedRecvOp : public detail::ReadOp, public detail::Limited<FramedRecvOp> {
    friend class detail::Limited<FramedRecvOp>;
    friend class detail::Stoppable<FramedRecvOp>;

public:
    explicit FramedRecvOp(detail::FrameSource& source) noexcept;
    bool await_ready() noexcept { return satisfied_ = source_.next(); }
    Result<FrameView> await_resume() noexcept;

private:
    static const Kind kind;
    static bool step(detail::ReadOp& op) noexcept;
    static void settle(detail::ReadOp& op) noexcept;
    detail::FrameSource& source_;
};

namespace detail {

// A message with what its codec puts around it: what a send refers to. A base, so that it is there before the send is.
template <std::size_t max_header, std::size_t max_trailer>
class Envelope {
public:
    template <class Codec>
    Envelope(const Codec& codec, std::span<const std::byte> message) noexcept {
        ByteWriter header(header_);
        ByteWriter trailer(trailer_);
        refused_ = codec.encode(message, header, trailer);
        if (refused()) return;
        CHAINRING_REQUIRE(header.ok() && trailer.ok(), "a codec wrote more than its max_header or max_trailer");
        pieces_[0] = header.written();
        pieces_[1] = message;
        pieces_[2] = trailer.written();
    }
    bool refused() const noexcept { return refused_ != Errc(); }
    Errc why_refused() const noexcept { return refused_; }
    std::span<const IoSlice> pieces() const noexcept { return pieces_; }

private:
    std::array<std::byte, max_header> header_;
    std::array<std::byte, max_trailer> trailer_;
    std::array<IoSlice, 3> pieces_;
    Errc refused_;
};

}  // namespace detail

// See Framed::send.
template <std::size_t max_header, std::size_t max_trailer>
class [[nodiscard]] FramedSendOp : detail::Envelope<max_header, max_trailer>, public SendOp {
    using Envelope = detail::Envelope<max_header, max_trailer>;

public:
    template <class Codec>
    FramedSendOp(detail::LinkState* link, const Codec& codec, std::span<const std::byte> message) noexcept
        : Envelope(codec, message), SendOp(link, Envelope::pieces()) {
        if (Envelope::refused()) SendOp::refuse(Envelope::why_refused());
    }
};

template <FrameCodec Codec>
class Framed : detail::CodecSource<Codec> {
    using Source = detail::CodecSource<Codec>;
    using Send = FramedSendOp<Codec::max_header, Codec::max_trailer>;

public:
    explicit Framed(Link& link, Codec codec = Codec()) noexcept : Source(Source::state_of(link), std::move(codec)) {}
    // While no receive and no send waits.
    Framed(Framed&&) noexcept = default;
    Framed& operator=(Framed&&) = delete;

    // Receives the next message. Completes when it has come whole, at once if it is there; otherwise it waits, and
    // resumes, as Link::recv does. Yields Result<FrameView>. Takes .within(), .until() and .stop_on().
    FramedRecvOp recv() noexcept { return FramedRecvOp(*this); }

    // Sends a message. Completes when the kernel has taken all of its frame; the memory must stay valid until then.
    // Yields the bytes sent, header and trailer counted, or an error: those of Link::send, and what the codec's encode
    // says of a message that it cannot frame, of which nothing is sent. Takes .within(), .until() and .stop_on().
    Send send(std::span<const std::byte> message) noexcept { return Send(Source::link(), codec(), message); }
    Send send(std::string_view text) noexcept { return send(as_bytes(text)); }

    // Whoever receives may change the codec between two receives, within the codec's own rules.
    Codec& codec() noexcept { return Source::codec(); }
    const Codec& codec() const noexcept { return Source::codec(); }

    // Ends the framing: hands over what has been taken from the Link behind the last message, whose loan ends. The Link
    // goes on behind it; receives on this Framed yield Errc::closed from now on. While no receive waits.
    Chunk take_rest() noexcept { return Source::take_rest(); }
};

CHAINRING_END_NAMESPACE
