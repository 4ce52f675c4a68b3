// SPDX-License-Identifier: BSL-1.0
// How recv_until finds its delimiter in a queue that grows: rightly, wherever the stream is cut, and without looking at
// anything twice.
#include <chainring/link_operations.hpp>

#include "runtime/src/buffer_pool.hpp"

#include <array>
#include <cstring>
#include <doctest/doctest.h>
#include <random>
#include <string>
#include <utility>
#include <vector>

using namespace chainring;
using chainring::detail::DelimiterSearch;
using chainring::detail::Segment;

namespace {

// A queue as a Link has it: small arrivals are gathered in heap blocks, larger ones stay in lent segments, and those
// may be copied to the heap at any moment.
class Queue {
public:
    explicit Queue(std::size_t block) noexcept : block_(block) {}
    Queue(const Queue&) = delete;
    Queue& operator=(const Queue&) = delete;
    ~Queue() {
        for (Segment* segment : segments_) free(segment);
    }
    void gather(std::string_view bytes) {
        bytes_ += bytes.size();
        if (!segments_.empty()) {
            Segment& tail = *segments_.back();
            const std::size_t part = std::min(bytes.size(), tail.room());
            std::memcpy(tail.data + tail.size, bytes.data(), part);
            tail.size += static_cast<std::uint32_t>(part);
            bytes.remove_prefix(part);
        }
        if (bytes.empty()) return;
        Segment* segment = Segment::allocate(std::max(block_, bytes.size()));
        std::memcpy(segment->data, bytes.data(), bytes.size());
        segment->size = static_cast<std::uint32_t>(bytes.size());
        append(segment);
    }
    void lend(std::string_view bytes) {
        bytes_ += bytes.size();
        auto* segment = new Segment;
        segment->data = new std::byte[bytes.size()];
        std::memcpy(segment->data, bytes.data(), bytes.size());
        segment->size = static_cast<std::uint32_t>(bytes.size());
        segment->pool = pool;
        append(segment);
    }
    void spill() {
        const std::vector<Segment*> old = std::exchange(segments_, {});
        bytes_ = 0;
        for (Segment* segment : old) {
            segment->next = nullptr;
            if (!segment->pool) {
                bytes_ += segment->size;
                append(segment);
                continue;
            }
            gather(as_text({segment->data, segment->size}));
            free(segment);
        }
    }
    const Segment* first() const noexcept { return segments_.empty() ? nullptr : segments_.front(); }
    std::size_t size() const noexcept { return bytes_; }

private:
    // Tells lent ones apart; never used.
    static inline detail::BufferPool* const pool = reinterpret_cast<detail::BufferPool*>(16);
    static void free(Segment* segment) {
        if (!segment->pool) {
            segment->release();
            return;
        }
        delete[] segment->data;
        delete segment;
    }
    void append(Segment* segment) {
        if (!segments_.empty()) segments_.back()->next = segment;
        segments_.push_back(segment);
    }
    std::size_t block_;
    std::size_t bytes_ = 0;
    std::vector<Segment*> segments_;
};

std::size_t length(const Segment* from) noexcept {
    std::size_t count = 0;
    for (; from; from = from->next) ++count;
    return count;
}

}  // namespace

TEST_CASE("a megabyte that comes byte by byte is walked once") {
    for (const std::string_view delimiter : {std::string_view("\n"), std::string_view("0123456789abcdef")}) {
        CAPTURE(delimiter);
        constexpr std::size_t total = 1 << 20;
        Queue queue(4096);
        DelimiterSearch search(delimiter, 16 << 20);
        std::size_t walked = 0;
        bool over = false;
        for (std::size_t count = 0; count < total; ++count) {
            queue.gather(delimiter.substr(0, 1) == "\n" ? "x" : "0");
            walked += length(search.resumes_at() ? search.resumes_at() : queue.first());
            over |= search.look(queue.first(), queue.size());
        }
        CHECK(!over);
        CHECK(walked <= 2 * total);  // segments; from the head each time, it would be 134 million
        queue.gather(delimiter);
        REQUIRE(search.look(queue.first(), queue.size()));
        CHECK(!search.too_long());
        CHECK(search.found_at() == total);
    }
}

TEST_CASE("the first delimiter is found, wherever the stream is cut and whatever spills meanwhile") {
    std::mt19937 random(7);
    const auto below = [&random](unsigned bound) { return static_cast<unsigned>(random() % bound); };
    const std::array<std::string, 5> delimiters{"b", "ab", "aab", "abab", std::string(63, 'a') + "b"};
    for (unsigned round = 0; round < 3000; ++round) {
        const std::string& delimiter = delimiters[below(5)];
        const std::size_t max = below(200);
        std::string text;
        for (unsigned count = below(300); count > 0; --count) text += below(delimiter.size() > 60 ? 80 : 8) ? 'a' : 'b';
        Queue queue(1 + below(40));
        DelimiterSearch search(delimiter, max);
        std::size_t given = 0;
        bool over = false;
        while (!over && given < text.size()) {
            const std::string_view piece = std::string_view(text).substr(given, 1 + below(below(3) ? 3 : 90));
            given += piece.size();
            if (below(3) == 0)
                queue.lend(piece);
            else
                queue.gather(piece);
            over = search.look(queue.first(), queue.size());
            if (below(8) == 0) queue.spill();
        }
        CAPTURE(round);
        CAPTURE(text);
        const std::size_t expected = text.substr(0, given).find(delimiter);
        if (expected == std::string::npos)
            CHECK(over == (given >= max + delimiter.size()));
        else
            CHECK(search.found_at() == (search.too_long() && expected > max ? search.found_at() : expected));
        if (over) CHECK(search.too_long() == (expected == std::string::npos || expected > max));
    }
}
