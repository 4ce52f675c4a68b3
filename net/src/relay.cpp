// SPDX-License-Identifier: BSL-1.0
#include <chainring/relay.hpp>
#include <chainring/scope.hpp>

#include <utility>

CHAINRING_BEGIN_NAMESPACE

namespace {

// One direction. An error ends both Links, which ends the other direction as well.
Task<> copy(Link* from, Link* to, std::uint64_t* bytes, std::error_code* first_error) {
    std::error_code error;
    for (;;) {
        auto chunk = co_await from->recv().ignore_drain();
        if (!chunk) {
            error = chunk.error();
            break;
        }
        auto sent = co_await to->send(std::move(*chunk));
        if (!sent) {
            error = sent.error();
            break;
        }
        *bytes += *sent;
    }
    if (error == Errc::eof) error = (co_await to->shutdown_write()).error();
    if (!error) co_return;
    if (!*first_error) *first_error = error;
    from->abort();
    to->abort();
}

}  // namespace

Task<RelayOutcome> relay(Link& first, Link& second) {
    RelayOutcome outcome;
    Scope scope;
    scope.spawn(copy, &first, &second, &outcome.forward, &outcome.error);
    scope.spawn(copy, &second, &first, &outcome.backward, &outcome.error);
    co_await scope.join();
    co_return outcome;
}

CHAINRING_END_NAMESPACE
