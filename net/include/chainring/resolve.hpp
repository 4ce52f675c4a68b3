// SPDX-License-Identifier: BSL-1.0
// resolve(host, port): the addresses of a name, by the system's rules (nsswitch.conf, /etc/hosts, DNS), without
// blocking the worker.
//
// Completes with the answer. Yields Result<std::vector<Address>>: at least one address, best first as RFC 6724 has it,
// with `port` in each; IPv6 ones only where IPv6 is configured, likewise IPv4. Or a ResolveErrc, Errc::invalid_address
// (no name at all), Errc::timed_out, Errc::cancelled, or an errno. A cancel or a limit ends it at once; what the system
// still finds is dropped, and nothing waits for that, neither the end of the runtime nor that of the process.
//
// A numeric host ("127.0.0.1", "::1", "fe80::1%eth0") is its own answer, at once. A name takes a thread for as long as
// the system does, 5 to 30 s when no name server answers: give it a limit. Up to 16 names are looked up at a time, for
// the whole process; further ones wait their turn. Nothing is remembered: the system's resolver may.
//
// `host` must stay valid until the await ends.
//
//     auto addresses = co_await resolve("example.org", 80).within(2s);
#pragma once

#include <chainring/address.hpp>
#include <chainring/config.hpp>
#include <chainring/result.hpp>
#include <chainring/time.hpp>

#include <coroutine>
#include <cstdint>
#include <memory>
#include <string_view>
#include <system_error>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

// Why a name has no address. What the kernel says travels as errno, as everywhere.
enum class ResolveErrc {
    not_found = 1,      // there is no such name
    no_address,         // there is, but it has no address of a family that is configured here
    temporary_failure,  // no name server has answered, or it asks to try again later
    failed,             // the name server, or the resolver's configuration, cannot answer this
};

const std::error_category& resolve_category() noexcept;

inline std::error_code make_error_code(ResolveErrc errc) noexcept {
    return {static_cast<int>(errc), resolve_category()};
}

namespace detail {
struct ResolvedName;
struct LinkReports;
class NameLookup;
}  // namespace detail

class [[nodiscard]] Resolve : detail::RemoteWaiter, public detail::Limited<Resolve> {
    friend class detail::Limited<Resolve>;
    friend class detail::Stoppable<Resolve>;

public:
    Resolve(std::string_view host, std::uint16_t port) noexcept;
    Resolve(const Resolve&) = delete;
    Resolve& operator=(const Resolve&) = delete;
    ~Resolve();
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> handle) noexcept {
        return start(handle.promise(), handle);
    }
    Result<std::vector<Address>> await_resume();

private:
    friend struct detail::LinkReports;
    bool start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept;
    bool start_lookup(detail::FrameNode& node, std::coroutine_handle<> handle);
    static void end_early(detail::Waiter& waiter, detail::Wake why) noexcept;
    bool fail(std::error_code error) noexcept;
    void take(const detail::ResolvedName& found);

    std::string_view host_;
    std::uint16_t port_;
    detail::Limit limit_;
    std::error_code error_;
    std::vector<Address> addresses_;
    std::shared_ptr<detail::NameLookup> lookup_;
};

inline Resolve resolve(std::string_view host, std::uint16_t port) noexcept {
    return Resolve(host, port);
}

CHAINRING_END_NAMESPACE

template <>
struct std::is_error_code_enum<chainring::ResolveErrc> : std::true_type {};
