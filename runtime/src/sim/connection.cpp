// SPDX-License-Identifier: BSL-1.0
// What the two programs do with a connection, and how it ends. See transport.cpp for what lies between them.
#include "runtime/src/sim/connection.hpp"

#include "runtime/src/sim/network.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

Connection::Connection(Network& network) noexcept
    : pipes{Pipe(*this, 0), Pipe(*this, 1)}, network_(network), handshake_(*this) {}

Connection::~Connection() {
    cancel_events();
}

void Connection::begin(std::uint32_t new_number, bool is_local) noexcept {
    number = new_number;
    local = is_local;
    ends = {};
    for (Pipe& pipe : pipes) pipe.clear();
    in_use_ = true;
    attempt_ = 0;
    listener_ = nullptr;
}

// ---- the programs' calls. The order in which they look at things is Linux's (tcp_recvmsg, sk_stream_error): data
// that came before a reset can still be read, an error is told once, and after it the end of the stream.

bool Connection::would_recv(unsigned side) const noexcept {
    const Pipe& in = pipes[1 - side];
    const End& end = ends[side];
    return in.readable > 0 || in.fin == Pipe::Fin::arrived || end.error != 0 || end.state == EndState::dead;
}

bool Connection::would_send(unsigned side) const noexcept {
    const End& end = ends[side];
    if (end.state == EndState::opening) return false;
    if (end.state != EndState::open || pipes[side].fin != Pipe::Fin::none) return true;
    if (local && ends[1 - side].state == EndState::gone) return true;
    return space(side) > 0;
}

int Connection::recv(unsigned side, std::span<std::byte> into) {
    Pipe& in = pipes[1 - side];
    End& end = ends[side];
    if (in.readable > 0) {
        const std::size_t part = std::min(in.readable, into.size());
        in.bytes.pop(into.first(part));
        in.readable -= part;
        window_opened(1 - side);
        return static_cast<int>(part);
    }
    if (in.fin == Pipe::Fin::arrived) return 0;
    if (end.error != 0) return -std::exchange(end.error, 0);
    return end.state == EndState::dead ? 0 : -EAGAIN;
}

int Connection::send(unsigned side, std::span<const std::byte> bytes) {
    End& end = ends[side];
    if (end.state == EndState::opening) return -EAGAIN;
    const bool shut = pipes[side].fin != Pipe::Fin::none || end.state != EndState::open;
    if (local && (shut || ends[1 - side].state == EndState::gone)) return -EPIPE;
    if (end.error != 0) return -std::exchange(end.error, 0);
    if (shut) return -EPIPE;
    const std::size_t part = std::min(space(side), bytes.size());
    if (part == 0) return bytes.empty() ? 0 : -EAGAIN;
    pipes[side].bytes.push(bytes.first(part));
    pipes[side].unsent += part;
    transmit(side);
    return static_cast<int>(part);
}

int Connection::shutdown_write(unsigned side) {
    if (ends[side].state != EndState::open) return ENOTCONN;
    if (pipes[side].fin != Pipe::Fin::none) return 0;
    pipes[side].fin = Pipe::Fin::asked;
    transmit(side);
    return 0;
}

// A close with data that nobody has read, or in the manner of linger 0, tells the peer by RST that not all has gone
// well (RFC 1122, 4.2.2.13; RFC 2525, 2.17).
void Connection::close(unsigned side, bool reset) {
    End& end = ends[side];
    end.socket = nullptr;
    Pipe& in = pipes[1 - side];
    const std::size_t unread = std::exchange(in.readable, 0);
    in.bytes.drop_front(unread);
    switch (end.state) {
        case EndState::opening:
            end.state = EndState::gone;  // the handshake finds nobody
            break;
        case EndState::open:
            if (local) {
                close_local(side, reset || unread > 0);
            } else if (reset || unread > 0) {
                end.state = EndState::gone;
                send_rst(side);
            } else {
                end.state = EndState::orphan;
                if (pipes[side].fin == Pipe::Fin::none) pipes[side].fin = Pipe::Fin::asked;
                transmit(side);
            }
            break;
        case EndState::dead:
            end.state = EndState::gone;
            break;
        default:
            break;
    }
    settle();
}

void Connection::close_local(unsigned side, bool reset) {
    ends[side].state = EndState::gone;
    End& peer = ends[1 - side];
    if (peer.state != EndState::open) return;
    if (reset) {
        peer.error = ECONNRESET;
        peer.state = EndState::dead;
    } else {
        pipes[side].fin = Pipe::Fin::arrived;
    }
    notify(1 - side);
}

// ---- ends

void Connection::fail(unsigned side, int error) {
    End& end = ends[side];
    if (!end.is_alive()) return;
    if (side == 1 && end.state == EndState::opening) leave_embryonic();
    end.error = error;
    end.state = end.socket || end.queued ? EndState::dead : EndState::gone;
    drop_unsent(side);
    // What it has in flight comes to nobody: whoever ended this is gone, or does not answer.
    Pipe& out = pipes[side];
    out.bytes.drop_back(out.flight);
    out.flight = 0;
    out.segments.clear();
    network_.timeline().cancel(out.arrival);
    notify(side);
    settle();
}

void Connection::vanish(unsigned side) {
    End& end = ends[side];
    end.socket = nullptr;
    end.queued = false;
    end.state = EndState::gone;
    drop_unsent(side);
    Pipe& in = pipes[1 - side];
    in.bytes.drop_front(std::exchange(in.readable, 0));
    settle();
}

// What is in flight goes on.
void Connection::drop_unsent(unsigned side) noexcept {
    Pipe& out = pipes[side];
    out.bytes.drop_back(std::exchange(out.unsent, 0));
    if (out.fin == Pipe::Fin::asked) out.fin = Pipe::Fin::none;
    out.stalled = out.silent = false;
    network_.timeline().cancel(out.retry);
}

// An orphan whose FIN has arrived stays for that of its peer, if there is one to come. With both ends gone the
// connection is over.
void Connection::settle() {
    if (!in_use_) return;
    for (unsigned side = 0; side < 2; ++side) {
        if (ends[side].state != EndState::orphan) continue;
        const Pipe& out = pipes[side];
        const bool sent = out.fin == Pipe::Fin::arrived && !out.silent;
        const bool received = pipes[1 - side].fin == Pipe::Fin::arrived || !ends[1 - side].is_alive();
        if (sent && received) ends[side].state = EndState::gone;
    }
    if (ends[0].state != EndState::gone || ends[1].state != EndState::gone) return;
    leave_embryonic();
    cancel_events();
    in_use_ = false;
    network_.release(*this);
}

void Connection::cancel_events() noexcept {
    Timeline& timeline = network_.timeline();
    timeline.cancel(handshake_);
    for (Pipe& pipe : pipes) {
        timeline.cancel(pipe.arrival);
        timeline.cancel(pipe.retry);
    }
}

void Connection::notify(unsigned side) const {
    const Socket* socket = ends[side].socket;
    if (socket && socket->watcher) socket->watcher->changed(socket->fd);
}

std::string Connection::describe(unsigned side) const {
    static constexpr std::array<std::string_view, 6> states = {"none", "opening", "open", "orphan", "dead", "gone"};
    const Pipe& out = pipes[side];
    const Pipe& in = pipes[1 - side];
    std::string text = ends[side].name.to_string() + " <-> " + ends[1 - side].name.to_string() + " ";
    text += states[static_cast<std::size_t>(ends[side].state)];
    text += ", " + std::to_string(in.readable) + " bytes unread, " + std::to_string(in.flight) + " coming, " +
            std::to_string(out.flight + out.unacked) + " going, " + std::to_string(out.unsent) + " unsent";
    if (in.fin == Pipe::Fin::arrived) text += ", peer has finished";
    if (out.fin != Pipe::Fin::none) text += ", has finished";
    if (out.stalled) text += ", retransmitting";
    return text;
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
