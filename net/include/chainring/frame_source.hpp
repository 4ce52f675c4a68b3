// SPDX-License-Identifier: BSL-1.0
// FrameSource: where Framed's messages come from, and what it keeps of the stream between two receives. Users do not
// name it; FrameView, a received message, they do.
//
// Bytes come as segments, taken from the Link all at once, and go through here in order:
//
//   in place   frames are found in the first held segment, one behind the other, and lent from there: no copy
//   gathering  a frame goes over the end of its segment: its bytes are copied behind one another into a heap block,
//              until it is whole. No byte of the next frame stays in the block, so the next is found in place again.
//
// So a frame that has not come whole holds no receive buffer, and memory for it grows with what has come, not with what
// its header claims. Bytes that are held: those of one take from the Link, and max_frame().
//
// Owned by the receiving task: it alone touches this, or the home worker on its behalf while it waits there.
#pragma once

#include <chainring/chunk.hpp>
#include <chainring/codec.hpp>
#include <chainring/config.hpp>

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

class Link;

// A received message, lent by the Framed that yielded it: its bytes stay until the next receive on that Framed is
// awaited, or until it is destroyed or moved from.
class FrameView {
public:
    FrameView() noexcept = default;
    explicit FrameView(std::span<const std::byte> bytes) noexcept : bytes_(bytes) {}
    std::span<const std::byte> bytes() const noexcept { return bytes_; }
    std::string_view text() const noexcept { return as_text(bytes_); }
    std::size_t size() const noexcept { return bytes_.size(); }
    bool empty() const noexcept { return bytes_.empty(); }
    std::string to_string() const { return std::string(text()); }
    operator std::span<const std::byte>() const noexcept { return bytes_; }

private:
    std::span<const std::byte> bytes_;
};

namespace detail {

class FrameSource {
public:
    // The codec's; CodecSource has it.
    struct Calls {
        DecodeStep (*decode)(FrameSource& self, std::span<const std::byte> input) noexcept;
        std::size_t (*max_frame)(const FrameSource& self) noexcept;
    };
    FrameSource(LinkState* link, const Calls& calls) noexcept : link_(link), calls_(&calls) {}
    FrameSource(FrameSource&& other) noexcept;
    FrameSource& operator=(FrameSource&&) = delete;

    static LinkState* state_of(const Link& link) noexcept;
    LinkState* link() const noexcept { return link_; }

    // Takes over a list of segments, behind those that are held.
    void feed(Segment* segments) noexcept;
    // Ends the last message's loan and looks for the next one in what is held. True: there is an outcome, a message()
    // or an error(). False: all that was held is a part of a frame now, of gathered() bytes.
    bool next() noexcept;
    FrameView message() const noexcept { return FrameView(message_); }
    std::error_code error() const noexcept { return error_; }
    std::size_t gathered() const noexcept;
    // Between frames: gives up the memory that frames were gathered in.
    void shrink() noexcept;
    // Everything that is held and was not part of a message. The end: next() finds Errc::closed, or the earlier error.
    Chunk take_rest() noexcept;

protected:
    ~FrameSource();

private:
    bool next_segment() noexcept;
    bool in_place() noexcept;
    bool gather() noexcept;
    bool fail(std::error_code error) noexcept;
    bool ask(std::span<const std::byte> input, DecodeStep& step) noexcept;
    bool make_room(std::size_t bytes) noexcept;
    void drop_message() noexcept;

    LinkState* link_;
    const Calls* calls_;
    Segment* held_ = nullptr;  // the list of segments; of the first, front_ is what is left
    Segment* held_tail_ = nullptr;
    std::span<const std::byte> front_;
    Segment* block_ = nullptr;            // where a frame is gathered; empty between frames
    std::span<const std::byte> message_;  // lent out: in the first held segment or in the block
    std::size_t need_ = 1;                // bytes that the frame at the front has at least
    std::size_t max_ = 0;                 // max_frame() at the beginning of this next()
    bool in_block_ = false;               // the message is in the block
    std::error_code error_;               // of the stream: set once
};

// With its codec.
template <class Codec>
class CodecSource : public FrameSource {
public:
    CodecSource(LinkState* link, Codec codec) noexcept : FrameSource(link, calls), codec_(std::move(codec)) {}
    Codec& codec() noexcept { return codec_; }
    const Codec& codec() const noexcept { return codec_; }

private:
    static DecodeStep decode(FrameSource& self, std::span<const std::byte> input) noexcept {
        return static_cast<CodecSource&>(self).codec_.decode(input);
    }
    static std::size_t max_frame(const FrameSource& self) noexcept {
        return static_cast<const CodecSource&>(self).codec_.max_frame();
    }
    static constexpr Calls calls = {decode, max_frame};
    Codec codec_;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
