// SPDX-License-Identifier: BSL-1.0
// Contests: an operation that waits, against what ends it early. A Contest says how the operation is begun, what
// completes it and what must hold afterwards; contend() has it cancelled before it begins, while it waits, and in
// thousands of rounds in which its completion, a cancel or a limit come at random moments, on one worker and on two.
//
// Each round: prepare(), then at the same time attempt() in a task of its own on worker 0, complete() on any worker and
// whatever ends it early; then settle(), when all of them have ended. So nothing that they share needs a lock, but
// where attempt() and complete() themselves meet.
//
// CHAINRING_ROUNDS and CHAINRING_SEED replace the number of rounds and the seed, which is printed.
#pragma once

#include "tests/unit/support.hpp"

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <system_error>

namespace support {

// Of each kind of race of an operation; fewer where a sanitizer slows everything down.
unsigned rounds();
std::uint64_t seed();

class Random {
public:
    explicit Random(std::uint64_t start) noexcept : state_(start) {}
    std::uint64_t next() noexcept;  // splitmix64, after Steele, Lea, Flood (2014)
    unsigned below(unsigned bound) noexcept { return static_cast<unsigned>((next() >> 32) * bound >> 32); }
    bool one_in(unsigned count) noexcept { return below(count) == 0; }

private:
    std::uint64_t state_;
};

using MaybeLimit = std::optional<Duration>;

// co_await limited(link.recv(), limit)
template <class Operation>
Operation&& limited(Operation&& operation, MaybeLimit limit) noexcept {
    return limit ? std::move(operation).within(*limit) : std::move(operation);
}

class Contest {
public:
    virtual ~Contest() = default;
    virtual Task<> begin() { co_return; }
    virtual Task<> prepare(Random&) { co_return; }
    virtual Task<std::error_code> attempt(MaybeLimit limit) = 0;
    virtual Task<> complete() = 0;
    virtual Task<> settle(std::error_code) { co_return; }
    virtual Task<> end() { co_return; }

    bool waits = true;                                 // attempt() waits until complete(): else it ends by itself, soon
    bool completes = true;                             // complete() ends it, or it does so by itself
    bool takes_limits = true;                          // attempt() obeys its limit
    bool either_wins = true;                           // in many rounds, each side wins some
    unsigned fewer = 1;                                // divides the rounds: each of them is dear
    std::error_code when_cancelled = Errc::cancelled;  // what attempt() yields then
};

void contend_once(Contest& contest, unsigned workers, unsigned ending, const char* name);

template <class C, class... Args>
void contend(const Args&... args) {
    static constexpr const char* names[] = {"cancel, one worker", "cancel, two workers", "limit, one worker",
                                            "limit, two workers", "clock, one worker",   "clock, two workers"};
    for (unsigned setting = 0; setting < 6; ++setting) {
        C contest(args...);
        if (setting >= 2 && !contest.takes_limits) break;
        contend_once(contest, 1 + setting % 2, setting / 2, names[setting]);
    }
}

// What a process and the worker of the caller hold now.
struct Balance {
    int descriptors = 0;
    std::uint64_t links = 0;
    std::uint64_t lent = 0;
    std::uint64_t operations = 0;
    static Balance now();
    bool operator==(const Balance&) const = default;
};
// Lets the loop go round until all is as it was before, and fails where that does not come.
Task<> restored(Balance before);

// A plain socket, as the other side of a Link has it (see plain_socket.hpp). Reset when it goes.
class Peer {
public:
    Peer() noexcept = default;
    explicit Peer(int fd) noexcept : fd_(fd) {}
    Peer(Peer&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Peer& operator=(Peer&& other) noexcept {
        std::swap(fd_, other.fd_);
        return *this;
    }
    ~Peer();
    int fd() const noexcept { return fd_; }
    Task<> send(std::string bytes) const;
    // To an end that may already have been accepted and dropped by a task that was cancelled.
    void try_send(std::string_view bytes) const;
    // What is there, up to `most` bytes, behind `into`; never waits. Says how much; -1 when nothing is there yet.
    long take(std::string& into, std::size_t most) const;
    // Waits for it.
    Task<> take_exactly(std::string* into, std::size_t bytes) const;
    void shutdown_write() const { plain::shutdown_write(fd_); }

private:
    int fd_ = -1;
};

Task<Peer> connected_peer(Address to);

// A Link of this worker, and the plain socket at its other end.
struct Wired {
    Wired() noexcept = default;
    Link link;
    Peer peer;
};
Task<Wired> wired(Listener& listener);

// An abstract unix address that no other test has.
std::string unix_address();

// The byte at `position` of an endless stream, which tells a lost or doubled byte.
inline char byte_at(std::uint64_t position) noexcept {
    return static_cast<char>((position + 1) * 0x9e3779b97f4a7c15 >> 56);
}
std::string bytes_from(std::uint64_t position, std::size_t count);

}  // namespace support
