// SPDX-License-Identifier: BSL-1.0
#include <chainring/resolve.hpp>

#include "runtime/src/resolver.hpp"
#include "runtime/src/worker.hpp"

#include <netdb.h>
#include <string>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

namespace {

class Category final : public std::error_category {
public:
    const char* name() const noexcept override { return "chainring.resolve"; }
    std::string message(int code) const override {
        switch (static_cast<ResolveErrc>(code)) {
            case ResolveErrc::not_found:
                return "the name does not exist";
            case ResolveErrc::no_address:
                return "the name has no address that can be used here";
            case ResolveErrc::temporary_failure:
                return "the name could not be resolved for now: no name server has answered";
            case ResolveErrc::failed:
                return "the name could not be resolved: the name server refuses, or the resolver is misconfigured";
        }
        return "unknown error";
    }
};

std::error_code error_of(const detail::ResolvedName& found) noexcept {
    switch (found.error) {
        case 0:
            return found.addresses.empty() ? make_error_code(ResolveErrc::no_address) : std::error_code();
        case EAI_NONAME:
            return ResolveErrc::not_found;
        case EAI_NODATA:
        case EAI_ADDRFAMILY:
            return ResolveErrc::no_address;
        case EAI_AGAIN:
            return ResolveErrc::temporary_failure;
        case EAI_MEMORY:
            return std::make_error_code(std::errc::not_enough_memory);
        case EAI_SYSTEM:
            return {found.system_error, std::system_category()};
        case EAI_IDN_ENCODE:  // not even the form of a name
        case EAI_OVERFLOW:
            return Errc::invalid_address;
        default:
            return ResolveErrc::failed;
    }
}

Result<Address> parse_numeric(std::string_view host, std::uint16_t port) {
    if (host.empty() || host == "localhost" || host == "unix") return Errc::invalid_address;  // special to Address
    const bool v6 = host.find(':') != std::string_view::npos;
    std::string text(v6 ? "[" : "");
    text.append(host).append(v6 ? "]:" : ":").append(std::to_string(port));
    return Address::parse(text);
}

// What getaddrinfo may be asked: it takes a zero byte for the end, and nothing for the local host.
bool may_be_name(std::string_view host) noexcept {
    constexpr std::size_t longest = 255;  // RFC 1035, 2.3.4
    return !host.empty() && host.size() <= longest && host.find_first_of(std::string_view("\0:/[] ", 6)) == host.npos;
}

}  // namespace

const std::error_category& resolve_category() noexcept {
    static const Category category;
    return category;
}

Resolve::Resolve(std::string_view host, std::uint16_t port) noexcept : host_(host), port_(port) {
    waits_in = detail::WaitKind::resolve;
    cancel = end_early;
}

Resolve::~Resolve() = default;

bool Resolve::fail(std::error_code error) noexcept {
    error_ = error;
    return false;
}

bool Resolve::start(detail::FrameNode& node, std::coroutine_handle<> handle) noexcept {
    try {
        return start_lookup(node, handle);
    } catch (...) {
        return fail(std::make_error_code(std::errc::not_enough_memory));
    }
}

bool Resolve::start_lookup(detail::FrameNode& node, std::coroutine_handle<> handle) {
    if (node.context->is_cancelled()) return fail(Errc::cancelled);
    if (const Result<Address> numeric = parse_numeric(host_, port_)) {
        addresses_.push_back(*numeric);
        return false;
    }
    if (!may_be_name(host_)) return fail(Errc::invalid_address);
    std::string name(host_);
    detail::ResolvedName found;
    if (node.context->worker()->backend().resolve_here(name, found)) {
        take(found);
        return false;
    }
    detail::RemoteWaiter& waiter = *this;
    lookup_ = std::make_shared<detail::NameLookup>(std::move(name), waiter);
    begin(node, handle, limit_);
    if (detail::Resolver::instance().ask(lookup_)) return true;  // it may have ended, and `this` may be gone
    stay();
    return fail(std::make_error_code(std::errc::resource_unavailable_try_again));
}

// On the task's worker.
void Resolve::end_early(detail::Waiter& waiter, detail::Wake why) noexcept {
    auto& self = static_cast<Resolve&>(waiter);
    if (!self.try_claim(why)) return;  // answered: the wake is on its way
    detail::Resolver::instance().forget(*self.lookup_);
    self.finish();
}

void Resolve::take(const detail::ResolvedName& found) {
    error_ = error_of(found);
    if (error_) return;
    addresses_.reserve(found.addresses.size());
    for (const sockaddr_storage& storage : found.addresses) {
        const std::size_t size = storage.ss_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
        Address address = Address::from_sockaddr(&storage, size);
        address.set_port(port_);
        addresses_.push_back(address);
    }
}

Result<std::vector<Address>> Resolve::await_resume() {
    if (lookup_ && !error_) {
        error_ = detail::error_of(outcome());
        if (!error_) take(lookup_->answer());
    }
    if (error_) return error_;
    return std::move(addresses_);
}

CHAINRING_END_NAMESPACE
