// SPDX-License-Identifier: BSL-1.0
#include <chainring/errc.hpp>
#include <chainring/result.hpp>
#include <chainring/trap.hpp>

#include <cstdio>
#include <cstdlib>
#include <string>

CHAINRING_BEGIN_NAMESPACE

namespace {

class Category final : public std::error_category {
public:
    const char* name() const noexcept override { return "chainring"; }
    std::string message(int code) const override {
        switch (static_cast<Errc>(code)) {
            case Errc::eof:
                return "end of stream";
            case Errc::cancelled:
                return "cancelled";
            case Errc::timed_out:
                return "timed out";
            case Errc::closed:
                return "closed";
            case Errc::shutting_down:
                return "shutting down";
            case Errc::invalid_address:
                return "malformed address: expected IPV4:PORT, [IPV6]:PORT, :PORT, unix:PATH or unix:@NAME";
            case Errc::too_long:
                return "no delimiter within the bound";
            case Errc::write_broken:
                return "an earlier send ended in the middle of its data";
            case Errc::overloaded:
                return "the queue is full";
            case Errc::not_supported:
                return "not supported";
            case Errc::message_too_large:
                return "a message above the limit of its framing";
            case Errc::malformed_frame:
                return "malformed frame";
            case Errc::unexpected_eof:
                return "the stream ended inside a frame";
        }
        return "unknown error";
    }
    // Lets portable code compare with std::errc.
    std::error_condition default_error_condition(int code) const noexcept override {
        switch (static_cast<Errc>(code)) {
            case Errc::cancelled:
                return std::errc::operation_canceled;
            case Errc::timed_out:
                return std::errc::timed_out;
            case Errc::write_broken:
                return std::errc::broken_pipe;
            case Errc::invalid_address:
                return std::errc::invalid_argument;
            case Errc::too_long:
            case Errc::message_too_large:
                return std::errc::message_size;
            case Errc::malformed_frame:
                return std::errc::bad_message;
            case Errc::not_supported:
                return std::errc::operation_not_supported;
            default:
                return {code, *this};
        }
    }
};

}  // namespace

const std::error_category& chainring_category() noexcept {
    static const Category category;
    return category;
}

namespace detail {

void throw_bad_result(std::error_code error, const char* file, unsigned line) {
    throw std::system_error(error, std::string(file) + ":" + std::to_string(line));
}

void trap(const char* rule, const char* file, unsigned line) noexcept {
    std::fprintf(stderr, "chainring: trap: %s (%s:%u)\n", rule, file ? file : "?", line);
    std::abort();
}

}  // namespace detail
CHAINRING_END_NAMESPACE
