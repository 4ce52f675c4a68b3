// SPDX-License-Identifier: BSL-1.0
// Machine: one host of a simulated network with the one process that runs on it: its addresses, its table of
// descriptors, its sockets, the unix paths of its file system. The calls are those of the system, and answer as
// Linux does: a value, or a negative errno; none of them waits. One thread.
//
// The process ends with kill_process(), the machine with power_off(); each begins a new `incarnation`, in which no
// descriptor of before is known.
#pragma once

#include <chainring/config.hpp>

#include "runtime/src/backend.hpp"
#include "runtime/src/sim/connection.hpp"
#include "runtime/src/sim/name.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

class Random;

// Who wants to know that something has changed at a descriptor: an accept, recv, send or connect may now succeed, or
// fail. It is told from inside of the network and only makes a note.
class Watcher {
public:
    virtual void changed(int fd) noexcept = 0;

protected:
    ~Watcher() = default;
};

struct Listener {
    Name name;
    unsigned backlog = 0;
    bool shared = false;                 // SO_REUSEPORT
    Fifo<Connection*> queue;             // established, to be accepted
    std::vector<Connection*> embryonic;  // in the handshake; each has its place in the queue
    bool full() const noexcept { return queue.size() + embryonic.size() > backlog; }  // Linux takes one more
};

struct Socket {
    Socket(Machine& on, int number, int family_of) noexcept : machine(on), fd(number), family(family_of) {}
    Machine& machine;
    int fd;
    int family;
    unsigned side = 0;
    Connection* connection = nullptr;    // a stream's
    std::unique_ptr<Listener> listener;  // a listening one's
    Watcher* watcher = nullptr;
    bool reset_on_close = false;
};

struct MachineLimits {
    unsigned descriptors = 1U << 20;  // numbers below this
    std::size_t send_buffer = 64 * 1024;
    std::size_t receive_buffer = 64 * 1024;
};

class Machine {
public:
    Machine(Network& network, std::uint32_t number, std::string name, std::vector<HostAddress> addresses);
    Machine(const Machine&) = delete;
    Machine& operator=(const Machine&) = delete;
    ~Machine();

    Network& network() const noexcept { return network_; }
    std::uint32_t number() const noexcept { return number_; }  // from 1
    const std::string& name() const noexcept { return name_; }
    std::span<const HostAddress> addresses() const noexcept { return addresses_; }
    bool is_up() const noexcept { return up_; }
    std::uint32_t incarnation() const noexcept { return incarnation_; }
    bool has(const HostAddress& address) const noexcept;  // one of its own, not of its loopback
    unsigned open_descriptors() const noexcept { return open_; }
    int descriptors() const noexcept { return static_cast<int>(sockets_.size()); }  // all are below this number

    // ---- the system's calls
    int open_stream(int family);
    Result<ListeningSocket> listen(const ListenRequest& request);
    void remove_path(const ListenRequest& request, std::uint64_t inode);
    int accept(int listener);
    int connect(int fd, const sockaddr* address, socklen_t size);  // 0, or negative errno: EINPROGRESS, ...
    int connect_outcome(int fd);                                   // 0, or negative errno: EINPROGRESS, ...
    int recv(int fd, std::span<std::byte> into);
    int send(int fd, std::span<const std::byte> bytes);
    int shutdown_write(int fd);
    int reset_on_close(int fd);
    int close(int fd);
    int local_name(int fd, sockaddr_storage& name, socklen_t& size) const;
    int peer_name(int fd, sockaddr_storage& name, socklen_t& size) const;

    bool is_open(int fd) const noexcept { return find(fd) != nullptr; }
    std::size_t readable(int fd) const noexcept;  // bytes
    // Would the call say something else than EAGAIN? True for what is no descriptor.
    bool would_accept(int fd) const noexcept;
    bool would_recv(int fd) const noexcept;
    bool would_send(int fd) const noexcept;

    // Tells `watcher`, one per descriptor, until it is closed or watched by another.
    void watch(int fd, Watcher& watcher) noexcept;
    void forget(const Watcher& watcher) noexcept;

    // ---- what is done to it
    void kill_process();  // its sockets are closed as the kernel closes them
    void power_off();     // silence
    void power_on();

    std::string describe(int fd) const;
    std::string describe() const;  // every descriptor, a line each

    // For the network: the connection of a stream, null for everything else; and who listens there; null: nobody.
    // Seeded when several share the port.
    Connection* connection_of(int fd) const noexcept;
    Socket* find_listener(const HostAddress& address, std::uint16_t port, Random& random) const;

    MachineLimits limits;

private:
    struct Path {
        std::string path;
        std::uint64_t inode = 0;
        Socket* listener = nullptr;  // null: stale
    };

    Socket* find(int fd) const noexcept;
    Socket* stream(int fd, int& error) const noexcept;
    int take_descriptor(int family);
    void drop(Socket& socket, bool power);
    void drop_all(bool power);
    int bind(Listener& listener, const ListenRequest& request, std::uint64_t& inode);
    int bind_path(Listener& listener, std::uint64_t& inode);
    bool port_taken(const Name& name, bool joins) const noexcept;
    std::uint16_t free_port();
    int connect_local(Socket& socket, const Name& to);
    Path* find_path(const std::string& path) noexcept;
    static void write(const Socket& socket, Name name, sockaddr_storage& into, socklen_t& size);

    Network& network_;
    std::uint32_t number_;
    std::string name_;
    std::vector<HostAddress> addresses_;
    bool up_ = true;
    std::uint32_t incarnation_ = 1;
    unsigned open_ = 0;
    std::size_t lowest_ = 0;  // no descriptor below is free
    std::uint16_t next_port_ = 32'768;
    std::uint64_t next_inode_ = 1;
    std::vector<std::unique_ptr<Socket>> sockets_;  // by descriptor
    std::vector<Socket*> listeners_;                // of TCP
    std::vector<Path> paths_;
};

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
