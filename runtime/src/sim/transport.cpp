// SPDX-License-Identifier: BSL-1.0
// What lies between the two ends of a connection: segments, windows, loss, retransmission, resets.
#include "runtime/src/sim/connection.hpp"
#include "runtime/src/sim/network.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

Pipe::Pipe(Connection& connection, unsigned side) noexcept
    : arrival(
          [](TimedEvent& event) noexcept {
              const auto& self = static_cast<PipeEvent&>(event);
              self.connection.arrive(self.side);
          },
          connection, side),
      retry(
          [](TimedEvent& event) noexcept {
              const auto& self = static_cast<PipeEvent&>(event);
              self.connection.retransmit(self.side);
          },
          connection, side) {}

// Its events are not scheduled.
void Pipe::clear() noexcept {
    bytes.clear();
    readable = flight = unsent = unacked = 0;
    fin = Fin::none;
    stalled = silent = false;
    backoff = 0;
    last_arrival = last_departure = Instant();
    segments.clear();
}

// ---- what there is room for

std::size_t Connection::space(unsigned side) const noexcept {
    const Pipe& out = pipes[side];
    const std::size_t held = out.unsent + out.flight + out.unacked + (local ? out.readable : 0);
    const std::size_t room = ends[side].machine->limits.send_buffer;
    return room - std::min(room, held);
}

std::size_t Connection::window(unsigned side) const noexcept {
    const std::size_t held = pipes[side].readable + pipes[side].flight;
    const std::size_t room = ends[1 - side].machine->limits.receive_buffer;
    return room - std::min(room, held);
}

bool Connection::reachable(unsigned from) const noexcept {
    const Machine* machine = ends[from].machine;
    return machine && network_.reachable(*machine, ends[1 - from].machine);
}

// ---- sending

void Connection::transmit(unsigned side) {
    if (local) {
        transmit_local(side);
        return;
    }
    Pipe& out = pipes[side];
    const EndState state = ends[side].state;
    if (out.stalled || (state != EndState::open && state != EndState::orphan)) return;
    Random& random = network_.random();
    while (out.unsent > 0) {
        const std::size_t room = window(side);
        // No silly windows (RFC 9293, 3.8.6.2): a receiver that takes a byte at a time gets no segments of one.
        const std::size_t worth = std::min(small_segment, ends[1 - side].machine->limits.receive_buffer / 2);
        if (room == 0 || room < std::min(out.unsent, worth)) break;
        std::size_t bytes = std::min({out.unsent, room, largest_segment});
        if (random.chance(network_.mischief.split, 1000)) bytes = static_cast<std::size_t>(random.between(1, bytes));
        if (!launch(side, Pipe::Kind::data, bytes)) return;
    }
    if (out.unsent == 0 && out.fin == Pipe::Fin::asked) launch(side, Pipe::Kind::fin, 0);
    if (!reachable(side)) probe(side);
}

// Nothing is between the two: what has been sent can be read, up to what the sender's buffer holds.
void Connection::transmit_local(unsigned side) {
    Pipe& out = pipes[side];
    out.readable += std::exchange(out.unsent, 0);
    if (out.fin == Pipe::Fin::asked) out.fin = Pipe::Fin::arrived;
    notify(1 - side);
}

// False: it is lost, and so is what follows until the retransmission.
bool Connection::launch(unsigned side, Pipe::Kind kind, std::size_t bytes) {
    Pipe& out = pipes[side];
    Random& random = network_.random();
    Timeline& timeline = network_.timeline();
    out.unsent -= bytes;
    out.flight += bytes;
    if (kind == Pipe::Kind::fin) out.fin = Pipe::Fin::sent;
    ++network_.count().segments;
    const bool joins = kind == Pipe::Kind::data && !out.segments.empty() && out.last_departure == timeline.now() &&
                       out.segments.back().kind == Pipe::Kind::data;
    if (joins && random.chance(network_.mischief.coalesce, 1000)) {
        out.segments.back().bytes += static_cast<std::uint32_t>(bytes);
        return true;
    }
    if (kind == Pipe::Kind::data) trace(side, TraceKind::segment, static_cast<std::int64_t>(bytes), number);
    if (!reachable(side)) {
        if (kind == Pipe::Kind::rst)
            probe(1 - side);
        else
            lose(side);
        return false;
    }
    Instant arrives = network_.arrival(*ends[side].machine, *ends[1 - side].machine, bytes);
    if (random.chance(network_.mischief.lose, 1000)) {
        ++network_.count().lost;
        ++network_.count().retransmissions;
        arrives += first_timeout;  // what follows waits for it
    }
    arrives = std::max(arrives, out.last_arrival);
    out.last_arrival = arrives;
    out.last_departure = timeline.now();
    out.segments.push(Pipe::Flight{arrives, static_cast<std::uint32_t>(bytes), kind});
    if (!out.arrival.scheduled()) timeline.schedule(out.arrival, arrives);
    return true;
}

// The receiver has read: it tells the sender, unless the way to it is blocked; then the sender has to ask.
void Connection::window_opened(unsigned side) {
    if (local) {
        notify(side);
        return;
    }
    if (!pipes[side].sending() || pipes[side].stalled) return;
    if (reachable(1 - side))
        transmit(side);
    else
        probe(side);
}

// ---- receiving

void Connection::arrive(unsigned side) {
    Pipe& pipe = pipes[side];
    Timeline& timeline = network_.timeline();
    if (!reachable(side)) {
        lose(side);
        return;
    }
    while (!pipe.segments.empty() && pipe.segments.front().arrives <= timeline.now()) {
        const Pipe::Flight flight = pipe.segments.pop();
        receive(side, flight);
    }
    acknowledge(side);
    if (!pipe.segments.empty()) timeline.schedule(pipe.arrival, pipe.segments.front().arrives);
    settle();
}

void Connection::receive(unsigned side, const Pipe::Flight& flight) {
    Pipe& pipe = pipes[side];
    End& to = ends[1 - side];
    if (to.state == EndState::opening && flight.kind != Pipe::Kind::rst) complete_handshake();  // it acknowledges, too
    if (flight.kind == Pipe::Kind::rst) {
        if (!to.is_alive()) return;
        ++network_.count().resets;
        trace(1 - side, TraceKind::reset, number, 1 - side);
        fail(1 - side, pipe.fin == Pipe::Fin::arrived ? EPIPE : ECONNRESET);
        return;
    }
    if (!to.is_alive() || (to.state == EndState::orphan && flight.bytes > 0)) {
        // Nobody is there to take it. It is not acknowledged: the sender has it, until RST tells it.
        if (to.state == EndState::orphan) {
            to.state = EndState::gone;
            drop_unsent(1 - side);
        }
        lose(side);
        send_rst(1 - side);
        return;
    }
    if (flight.kind == Pipe::Kind::fin) {
        pipe.fin = Pipe::Fin::arrived;
        trace(1 - side, TraceKind::fin, number, 1 - side);
    } else {
        pipe.flight -= flight.bytes;
        pipe.readable += flight.bytes;
        pipe.unacked += flight.bytes;
        network_.count().bytes += flight.bytes;
        trace(1 - side, TraceKind::arrival, flight.bytes, number);
    }
    notify(1 - side);
}

void Connection::acknowledge(unsigned side) {
    Pipe& pipe = pipes[side];
    if (pipe.stalled || !ends[side].is_alive()) return;
    if (!reachable(1 - side)) {
        arm_retry(side);
        return;
    }
    pipe.unacked = 0;
    pipe.silent = false;
    network_.timeline().cancel(pipe.retry);
    notify(side);
}

// ---- loss

// Everything in flight is lost with the first of it, and sent again when the retransmission's time has come.
void Connection::lose(unsigned side) {
    Pipe& out = pipes[side];
    ++network_.count().lost;
    trace(side, TraceKind::lost, static_cast<std::int64_t>(out.flight), number);
    out.segments.clear();
    network_.timeline().cancel(out.arrival);
    if (!ends[side].is_alive()) {
        // Who sent it is no more: nobody will again.
        out.bytes.drop_back(std::exchange(out.flight, 0));
        probe(1 - side);
        return;
    }
    out.unsent += std::exchange(out.flight, 0);
    if (out.fin == Pipe::Fin::sent) out.fin = Pipe::Fin::asked;
    out.stalled = true;
    arm_retry(side);
}

void Connection::arm_retry(unsigned side) {
    Pipe& out = pipes[side];
    Timeline& timeline = network_.timeline();
    if (out.retry.scheduled()) return;
    if (!std::exchange(out.silent, true)) {
        out.silent_since = timeline.now();
        out.backoff = 0;
    }
    const Duration timeout = std::min(longest_timeout, first_timeout * (1 << std::min(out.backoff++, 10U)));
    timeline.schedule(out.retry, timeline.now() + timeout);
}

void Connection::retransmit(unsigned side) {
    Pipe& out = pipes[side];
    if (network_.timeline().now() - out.silent_since >= give_up_after) {
        ++network_.count().timeouts;
        trace(side, TraceKind::timed_out, number, side);
        fail(side, ETIMEDOUT);
        return;
    }
    ++network_.count().retransmissions;
    trace(side, TraceKind::retransmit, static_cast<std::int64_t>(out.unsent), number);
    if (!reachable(side)) {
        arm_retry(side);
        return;
    }
    const bool answered = reachable(1 - side);
    if (answered) {
        out.unacked = 0;
        out.silent = false;
        notify(side);
    } else {
        arm_retry(side);
    }
    out.stalled = false;
    transmit(side);
    settle();
}

void Connection::path_changed() {
    if (!in_use_ || local) return;
    for (unsigned side = 0; side < 2; ++side) {
        if (!reachable(side)) probe(side);
    }
}

// What `side` has to send waits for a window, and nobody may tell of it: it has to ask, which is a retransmission.
void Connection::probe(unsigned side) {
    const EndState state = ends[side].state;
    if (state != EndState::open && state != EndState::orphan) return;
    const Pipe& out = pipes[side];
    if (out.sending() && !out.stalled && out.segments.empty()) lose(side);
}

// ---- resets

void Connection::send_rst(unsigned side) {
    Pipe& out = pipes[side];
    drop_unsent(side);
    if (!ends[1 - side].is_alive()) return;
    if (!out.segments.empty() && out.segments.back().kind == Pipe::Kind::rst) return;
    launch(side, Pipe::Kind::rst, 0);
}

void Connection::trace(unsigned side, TraceKind kind, std::int64_t first, std::int64_t second) const {
    const Machine* machine = ends[side].machine;
    network_.trace().record_on(machine ? machine->number() : 0, kind, first, second);
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
