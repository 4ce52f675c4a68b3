// SPDX-License-Identifier: BSL-1.0
#include <chainring/deadline.hpp>
#include <chainring/dial.hpp>
#include <chainring/event.hpp>
#include <chainring/resolve.hpp>
#include <chainring/runtime.hpp>
#include <chainring/scope.hpp>

#include "net/src/drained_pause.hpp"

#include <algorithm>
#include <charconv>
#include <utility>

CHAINRING_BEGIN_NAMESPACE

namespace {

// ---- the addresses of a target

struct NamedPort {
    std::string_view host;
    std::uint16_t port = 0;
};

Result<NamedPort> split(std::string_view text) noexcept {
    NamedPort named;
    const auto colon = text.rfind(':');
    if (colon == text.npos) return Errc::invalid_address;
    named.host = text.substr(0, colon);
    if (named.host.find(':') != text.npos)
        return Errc::invalid_address;  // is it the end of an IPv6 address, or a port?
    const std::string_view port = text.substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), named.port);
    if (port.empty() || error != std::errc() || end != port.data() + port.size()) return Errc::invalid_address;
    return named;
}

// The families in turn, beginning with that of the best address (RFC 8305, 4); within each, the order stays.
void interleave(std::vector<Address>& addresses) {
    if (addresses.empty()) return;
    const int family = addresses.front().family();
    std::vector<Address> first;
    std::vector<Address> second;
    for (const Address& address : addresses) (address.family() == family ? first : second).push_back(address);
    addresses.clear();
    for (std::size_t at = 0; at < std::max(first.size(), second.size()); ++at) {
        if (at < first.size()) addresses.push_back(first[at]);
        if (at < second.size()) addresses.push_back(second[at]);
    }
}

Task<Result<std::vector<Address>>> addresses_of(const detail::DialTarget& target) {
    if (target.text.empty() && !target.addresses.empty()) co_return target.addresses;
    const auto named = split(target.text);
    const bool local = named && named->host == "localhost";  // may have an IPv6 address, too
    if (!local) {
        const auto parsed = Address::parse(target.text);
        if (parsed) co_return std::vector<Address>(1, *parsed);
        if (!named || parsed.error() != Errc::invalid_address) co_return parsed.error();
    }
    auto found = co_await resolve(named->host, named->port);
    if (found) interleave(*found);
    co_return std::move(found);
}

// ---- the race

// The tasks of a race are bound to one worker, so that what they share needs no lock and the Link's home is that
// worker.
struct Race {
    std::vector<Address> addresses;
    Duration head_start{};
    unsigned worker = 0;
    Event failed;            // the latest attempt has
    std::size_t latest = 0;  // its index
    Link winner;
    std::error_code first_error;  // of the first address that has failed
    std::size_t first_failed = static_cast<std::size_t>(-1);
    std::error_code ended_early;  // a cancel or a deadline
};

bool by_itself(std::error_code error) noexcept {
    return error != Errc::cancelled && error != Errc::timed_out;
}

Task<> attempt(Race* race, Scope* scope, std::size_t index) {
    auto link = co_await Link::connect(race->addresses[index]);
    if (link) {
        if (race->winner) co_return;  // too late: the Link goes, and its connection with it
        race->winner = std::move(*link);
        scope->cancel();
        co_return;
    }
    if (!by_itself(link.error())) {
        race->ended_early = link.error();
    } else if (index < race->first_failed) {
        race->first_failed = index;
        race->first_error = link.error();
    }
    if (index == race->latest) race->failed.set();
}

Task<> start_attempts(Race* race, Scope* scope) {
    for (std::size_t index = 0; index < race->addresses.size(); ++index) {
        race->latest = index;
        race->failed.reset();
        scope->spawn_on(race->worker, attempt, race, scope, index);
        if (index + 1 == race->addresses.size()) break;
        const auto waited = co_await race->failed.wait().within(race->head_start);
        if (race->winner || race->ended_early) break;
        const bool head_start_over = !waited && waited.error() == Errc::timed_out && !Deadline::passed();
        if (waited || head_start_over) continue;
        race->ended_early = waited.error();
        break;
    }
}

Task<Result<Link>> connect_first(std::vector<Address> addresses, Duration head_start) {
    if (addresses.size() == 1) {
        auto link = co_await Link::connect(addresses.front());
        co_return std::move(link);
    }
    Race race;
    race.addresses = std::move(addresses);
    race.head_start = head_start;
    race.worker = Runtime::current_worker();
    Scope scope;
    scope.spawn_on(race.worker, start_attempts, &race, &scope);
    co_await scope.join();
    if (race.winner) co_return std::move(race.winner);
    co_return race.ended_early ? race.ended_early : race.first_error;
}

}  // namespace

Task<Result<Link>> detail::dial_once(const DialTarget& target, Duration head_start) {
    auto addresses = co_await addresses_of(target);
    if (!addresses) co_return addresses.error();
    auto link = co_await connect_first(std::move(*addresses), head_start);
    co_return std::move(link);
}

Task<Result<void>> detail::pause_dialling(Duration duration) {
    auto ended = co_await DrainedPause(duration);
    co_return std::move(ended);
}

Task<Result<Link>> Dial::run(const detail::Limit* limit, detail::DialTarget target, DialOptions options) {
    std::optional<Deadline> deadline;
    if (limit->given()) deadline.emplace(limit->from(now()));
    Backoff backoff(options.retry);
    for (;;) {
        auto link = co_await detail::dial_once(target, options.head_start);
        if (link || is_permanent(link.error())) co_return std::move(link);
        const std::optional<Duration> pause = backoff.next();
        if (!pause) co_return std::move(link);
        const auto waited = co_await detail::pause_dialling(*pause);
        if (!waited) co_return waited.error();
    }
}

CHAINRING_END_NAMESPACE
