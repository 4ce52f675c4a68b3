// SPDX-License-Identifier: BSL-1.0
#include "net/src/admission.hpp"

#include <chainring/deadline.hpp>

#include "net/src/link_state.hpp"

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// Never above the limit, not for a moment: or one would be refused though there is room.
bool Admission::enter(Counter& counter, std::uint32_t limit) noexcept {
    std::uint32_t count = counter.load(std::memory_order_relaxed);
    while (count < limit)
        if (counter.compare_exchange_weak(count, count + 1, std::memory_order_relaxed)) return true;
    return false;
}

Admitted Admission::admit(Socket& socket) noexcept {
    if (limit_ == 0) return Admitted::served;
    Admitted as = Admitted::closed;
    if (enter(served_, limit_))
        as = Admitted::served;
    else if (enter(refused_, most_refused))
        as = Admitted::refused;
    if (as != Admitted::closed) socket.count_in(*this, as);
    return as;
}

}  // namespace detail

// On the Listener's home. The peer gets the text, if there is one, and the end of the stream. What it sends is
// discarded, until it ends or the time is over: closing with unread bytes would reset the connection, and the text
// might be lost with it.
Task<> Listener::refuse(detail::Socket&& socket, std::string_view text) {
    const Deadline deadline(refusal_time);
    Link link;
    try {
        link = Link(detail::LinkState::adopt(*detail::Worker::current(), socket.release()));
    } catch (...) {
        co_return;  // no memory, not even for that: it is closed, and those who are served go on
    }
    bool goes_on = true;
    if (!text.empty()) goes_on = (co_await link.send(text)).has_value();
    if (goes_on) goes_on = (co_await link.shutdown_write()).has_value();
    // A receive whose time is over still yields what is there, which may be without end.
    while (goes_on && !Deadline::passed()) goes_on = (co_await link.recv()).has_value();
    co_await link.close();
}

CHAINRING_END_NAMESPACE
