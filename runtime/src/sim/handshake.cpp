// SPDX-License-Identifier: BSL-1.0
// How a connection begins: SYN, SYN-ACK, ACK (RFC 9293, 3.5), each with the time that it takes on its way and the
// chance to meet a partition. A place in the listener's queue is taken by the SYN, so that the ACK finds one.
#include "runtime/src/sim/connection.hpp"
#include "runtime/src/sim/network.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

namespace {
constexpr unsigned ack_retries = 5;  // tcp_synack_retries
}

Connection::Handshake::Handshake(Connection& of) noexcept
    : TimedEvent([](TimedEvent& event) noexcept { static_cast<Handshake&>(event).connection.on_handshake(); }),
      connection(of) {}

void Connection::send_syn() {
    Timeline& timeline = network_.timeline();
    syn_at_ = timeline.now();
    trace(0, TraceKind::syn, number, attempt_);
    if (!reachable(0)) {
        retry_syn();
        return;
    }
    stage_ = Stage::syn;
    timeline.schedule(handshake_, network_.arrival(*ends[0].machine, *ends[1].machine, 0));
}

// No answer: it is sent again after 1, 3, 7, ... seconds.
void Connection::retry_syn() {
    stage_ = Stage::retry;
    network_.timeline().schedule(handshake_, syn_at_ + first_syn_timeout * (1 << attempt_));
}

void Connection::on_handshake() {
    switch (stage_) {
        case Stage::syn:
            on_syn();
            break;
        case Stage::syn_ack:
            on_syn_ack();
            break;
        case Stage::ack:
            on_ack();
            break;
        case Stage::refused:
            ends[1].state = EndState::gone;
            if (!reachable(1)) {
                ends[1].state = EndState::none;
                retry_syn();
                break;
            }
            fail(0, ECONNREFUSED);
            settle();
            break;
        case Stage::retry:
            if (ends[0].state == EndState::gone) {
                ends[1].state = EndState::gone;
                settle();
            } else if (attempt_++ < syn_retries) {
                send_syn();
            } else {
                ++network_.count().timeouts;
                trace(0, TraceKind::timed_out, number, 0);
                ends[1].state = EndState::gone;
                fail(0, ETIMEDOUT);
            }
            break;
    }
}

void Connection::on_syn() {
    Timeline& timeline = network_.timeline();
    if (!reachable(0)) {
        retry_syn();
        return;
    }
    const Machine& to = *ends[1].machine;
    Socket* listener = to.find_listener(ends[1].name.address, ends[1].name.port, network_.random());
    if (listener && listener->listener->full()) {
        ++network_.count().syns_dropped;
        trace(1, TraceKind::syn_dropped, number, ends[1].name.port);
        retry_syn();
        return;
    }
    if (!reachable(1)) {
        retry_syn();
        return;
    }
    if (listener) {
        listener_ = listener;
        listener->listener->embryonic.push_back(this);
        ends[1].state = EndState::opening;
        stage_ = Stage::syn_ack;
    } else {
        ++network_.count().refused;
        trace(1, TraceKind::refused, number, ends[1].name.port);
        stage_ = Stage::refused;
    }
    timeline.schedule(handshake_, network_.arrival(to, *ends[0].machine, 0));
}

void Connection::on_syn_ack() {
    Timeline& timeline = network_.timeline();
    if (!reachable(1) || ends[0].state == EndState::gone) {
        // Lost, or answered by RST as nobody waits for it. The server forgets; a client that is there tries again.
        leave_embryonic();
        ends[1].state = EndState::none;
        retry_syn();
        return;
    }
    ends[0].state = EndState::open;
    ++network_.count().established;
    trace(0, TraceKind::established, number, 0);
    stage_ = Stage::ack;
    attempt_ = 0;
    const Instant arrives = network_.arrival(*ends[0].machine, *ends[1].machine, 0);
    pipes[0].last_arrival = arrives;  // data comes behind it
    timeline.schedule(handshake_, arrives);
    notify(0);
}

void Connection::on_ack() {
    if (ends[1].state != EndState::opening) return;  // RST was there first
    if (reachable(0)) {
        complete_handshake();
        settle();
        return;
    }
    if (attempt_ < ack_retries) {
        network_.timeline().schedule(handshake_, network_.timeline().now() + first_syn_timeout * (1 << attempt_++));
        return;
    }
    // The server has given up; the client learns of it when it sends.
    leave_embryonic();
    ends[1].state = EndState::gone;
    settle();
}

void Connection::complete_handshake() {
    network_.timeline().cancel(handshake_);
    Socket* listener = listener_;
    leave_embryonic();
    if (!listener) {  // it has been closed meanwhile
        ends[1].state = EndState::gone;
        send_rst(1);
        return;
    }
    trace(1, TraceKind::established, number, 1);
    enter_queue(*listener);
}

void Connection::enter_queue(Socket& listener) {
    ends[1].state = EndState::open;
    ends[1].queued = true;
    listener.listener->queue.push(this);
    if (listener.watcher) listener.watcher->changed(listener.fd);
}

void Connection::leave_embryonic() noexcept {
    Socket* listener = std::exchange(listener_, nullptr);
    if (listener) std::erase(listener->listener->embryonic, this);
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
