// SPDX-License-Identifier: BSL-1.0
// Connection: two ends and what travels between them. Of TCP (RFC 9293) it has what a program can tell: order, windows,
// half close, resets, retransmission and giving up; see docs/design/simulator.md. A `local` one is of unix sockets:
// what one end sends is at the other at once. One thread.
//
// Bytes of one direction lie in one queue from send() to recv(), and only counters move:
//     [ readable | in flight | unsent ]      front ... back
// An acknowledgement takes no time. What the receiver has and could not acknowledge, because the way back is blocked,
// is `unacked`, and counts against the sender's buffer.
//
// Owned by the Network, which keeps it for the next one when both ends are gone: so it may end within any of its own
// functions, and its memory stays good until another connection begins.
#pragma once

#include <chainring/config.hpp>

#include "runtime/src/sim/fifo.hpp"
#include "runtime/src/sim/name.hpp"
#include "runtime/src/sim/timeline.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

class Connection;
class Machine;
class Network;
struct Socket;
enum class TraceKind : std::uint8_t;

enum class EndState : std::uint8_t {
    none,     // the handshake has not come here yet
    opening,  // in the handshake
    open,     // a program's, or waiting to be accepted
    orphan,   // closed by its program; what was sent before, and FIN, are still on their way
    dead,     // reset or timed out, and its program has not closed it yet
    gone      // nothing is left: what comes here is answered by RST
};

struct End {
    Machine* machine = nullptr;  // null: nobody has that address
    Name name;
    Socket* socket = nullptr;  // null: not accepted yet, or closed
    EndState state = EndState::none;
    bool queued = false;  // waits in a listener's queue
    int error = 0;        // what the next call of the program is told, once
    bool is_alive() const noexcept {
        return state == EndState::opening || state == EndState::open || state == EndState::orphan;
    }
};

// What one end sends.
struct Pipe {
    enum class Fin : std::uint8_t { none, asked, sent, arrived };
    enum class Kind : std::uint8_t { data, fin, rst };
    struct Flight {
        Instant arrives;
        std::uint32_t bytes = 0;
        Kind kind = Kind::data;
    };
    // An event that finds its way back.
    struct PipeEvent : TimedEvent {
        PipeEvent(Fire fire, Connection& of, unsigned from) noexcept : TimedEvent(fire), connection(of), side(from) {}
        Connection& connection;
        unsigned side;
    };
    Pipe(Connection& connection, unsigned side) noexcept;
    void clear() noexcept;
    bool sending() const noexcept { return unsent > 0 || fin == Fin::asked; }

    ByteQueue bytes;
    std::size_t readable = 0;
    std::size_t flight = 0;
    std::size_t unsent = 0;
    std::size_t unacked = 0;
    Fin fin = Fin::none;
    bool stalled = false;  // something was lost: nothing is sent before the retransmission
    bool silent = false;   // something is not acknowledged
    unsigned backoff = 0;
    Instant silent_since;
    Instant last_arrival;
    Instant last_departure;
    Fifo<Flight> segments;  // in flight, in the order of their arrival
    PipeEvent arrival;      // of the first of them
    PipeEvent retry;        // retransmission timeout
};

class Connection {
public:
    // tcp(7): tcp_syn_retries, tcp_retries2; RFC 6298 with Linux's bounds.
    static constexpr unsigned syn_retries = 6;
    static constexpr Duration first_syn_timeout = std::chrono::seconds(1);
    static constexpr Duration first_timeout = std::chrono::milliseconds(200);
    static constexpr Duration longest_timeout = std::chrono::seconds(120);
    static constexpr Duration give_up_after = std::chrono::milliseconds(924'600);
    static constexpr std::size_t largest_segment = 65'483;  // a loopback's; and the offload of network cards
    static constexpr std::size_t small_segment = 1'448;

    explicit Connection(Network& network) noexcept;
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    ~Connection();
    void begin(std::uint32_t number, bool local) noexcept;

    // ---- beginning (handshake.cpp). Both ends' machines and names are set.
    void send_syn();
    void enter_queue(Socket& listener);
    void forget_listener() noexcept { listener_ = nullptr; }

    // ---- what a program does with end `side`
    std::size_t readable(unsigned side) const noexcept { return pipes[1 - side].readable; }
    bool would_recv(unsigned side) const noexcept;  // recv() would not say EAGAIN
    bool would_send(unsigned side) const noexcept;
    int recv(unsigned side, std::span<std::byte> into);         // bytes, 0 at the end of the stream, or negative errno
    int send(unsigned side, std::span<const std::byte> bytes);  // bytes, or negative errno
    int shutdown_write(unsigned side);                          // 0, or the errno
    void close(unsigned side, bool reset);

    // ---- what is done to it
    void fail(unsigned side, int error);  // the end is over, and its program is told `error`
    void vanish(unsigned side);           // its machine has no power
    void path_changed();                  // what waits to be sent may have to wait for a retransmission

    std::string describe(unsigned side) const;
    bool in_use() const noexcept { return in_use_; }
    bool is_established() const noexcept {
        return in_use_ && ends[0].state == EndState::open && ends[1].state == EndState::open;
    }

    std::uint32_t number = 0;  // in the order of their beginnings
    bool local = false;
    std::array<End, 2> ends;    // the one that connected, the one that listened
    std::array<Pipe, 2> pipes;  // what each sends

private:
    friend struct Pipe;
    enum class Stage : std::uint8_t { syn, syn_ack, ack, refused, retry };
    struct Handshake : TimedEvent {
        explicit Handshake(Connection& of) noexcept;
        Connection& connection;
    };

    void on_handshake();
    void on_syn();
    void on_syn_ack();
    void on_ack();
    void retry_syn();
    void leave_embryonic() noexcept;
    void complete_handshake();

    std::size_t space(unsigned side) const noexcept;
    std::size_t window(unsigned side) const noexcept;
    bool reachable(unsigned from) const noexcept;
    void transmit(unsigned side);
    void transmit_local(unsigned side);
    bool launch(unsigned side, Pipe::Kind kind, std::size_t bytes);
    void arrive(unsigned side);
    void receive(unsigned side, const Pipe::Flight& flight);
    void acknowledge(unsigned side);
    void lose(unsigned side);
    void probe(unsigned side);
    void arm_retry(unsigned side);
    void retransmit(unsigned side);
    void window_opened(unsigned side);
    void send_rst(unsigned side);
    void close_local(unsigned side, bool reset);
    void drop_unsent(unsigned side) noexcept;
    void notify(unsigned side) const;
    void settle();
    void cancel_events() noexcept;
    void trace(unsigned side, TraceKind kind, std::int64_t first, std::int64_t second) const;

    Network& network_;
    bool in_use_ = false;
    Handshake handshake_;
    Stage stage_ = Stage::syn;
    unsigned attempt_ = 0;
    Instant syn_at_;
    Socket* listener_ = nullptr;  // while in its list of embryonic connections
};

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
