// SPDX-License-Identifier: BSL-1.0
// A machine's life, its descriptors, and the calls on a stream. See listening.cpp for how streams come to be.
#include "runtime/src/sim/machine.hpp"

#include "runtime/src/sim/network.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

namespace {
constexpr std::size_t first_descriptor = 3;  // standard input, output and error come before it
}

Machine::Machine(Network& network, std::uint32_t number, std::string name, std::vector<HostAddress> addresses)
    : network_(network),
      number_(number),
      name_(std::move(name)),
      addresses_(std::move(addresses)),
      lowest_(first_descriptor),
      sockets_(first_descriptor) {}

Machine::~Machine() = default;

bool Machine::has(const HostAddress& address) const noexcept {
    return std::find(addresses_.begin(), addresses_.end(), address) != addresses_.end();
}

// ---- descriptors

Socket* Machine::find(int fd) const noexcept {
    if (fd < 0 || static_cast<std::size_t>(fd) >= sockets_.size()) return nullptr;
    return sockets_[static_cast<std::size_t>(fd)].get();
}

// The lowest free number, as POSIX has it; -EMFILE at the limit.
int Machine::take_descriptor(int family) {
    while (lowest_ < sockets_.size() && sockets_[lowest_]) ++lowest_;
    if (lowest_ >= limits.descriptors) return -EMFILE;
    if (lowest_ == sockets_.size()) sockets_.emplace_back();
    const int fd = static_cast<int>(lowest_);
    sockets_[lowest_] = std::make_unique<Socket>(*this, fd, family);
    ++open_;
    return fd;
}

int Machine::open_stream(int family) {
    if (family != AF_INET && family != AF_INET6 && family != AF_UNIX) return -EAFNOSUPPORT;
    if (!up_) return -ENETDOWN;
    const int fd = take_descriptor(family);
    if (fd >= 0) network_.trace().record(TraceKind::open, fd, family);
    return fd;
}

int Machine::close(int fd) {
    Socket* socket = find(fd);
    if (!socket) return EBADF;
    network_.trace().record(TraceKind::close, fd, socket->reset_on_close ? 1 : 0);
    drop(*socket, false);
    return 0;
}

// `power`: without a word to anybody.
void Machine::drop(Socket& socket, bool power) {
    const auto index = static_cast<std::size_t>(socket.fd);
    const std::unique_ptr<Socket> owned = std::move(sockets_[index]);
    lowest_ = std::min(lowest_, index);
    --open_;
    if (Connection* connection = socket.connection) {
        if (power)
            connection->vanish(socket.side);
        else
            connection->close(socket.side, socket.reset_on_close);
    }
    Listener* listener = socket.listener.get();
    if (!listener) return;
    std::erase(listeners_, &socket);
    for (Path& path : paths_)
        if (path.listener == &socket) path.listener = nullptr;  // stale now
    std::erase_if(paths_, [](const Path& path) { return path.path.front() == '\0' && !path.listener; });
    for (Connection* connection : listener->embryonic) connection->forget_listener();
    while (!listener->queue.empty()) {
        Connection* connection = listener->queue.pop();
        connection->ends[1].queued = false;
        if (power)
            connection->vanish(1);
        else
            connection->close(1, true);
    }
}

void Machine::drop_all(bool power) {
    for (const auto& socket : sockets_)
        if (socket) socket->watcher = nullptr;
    for (std::size_t index = 0; index < sockets_.size(); ++index)
        if (sockets_[index]) drop(*sockets_[index], power);
    ++incarnation_;
}

void Machine::watch(int fd, Watcher& watcher) noexcept {
    if (Socket* socket = find(fd)) socket->watcher = &watcher;
}

void Machine::forget(const Watcher& watcher) noexcept {
    for (const auto& socket : sockets_)
        if (socket && socket->watcher == &watcher) socket->watcher = nullptr;
}

// ---- life

void Machine::kill_process() {
    network_.trace().record_on(0, TraceKind::kill, number_);
    drop_all(false);
}

void Machine::power_off() {
    if (!up_) return;
    network_.trace().record_on(0, TraceKind::power_off, number_);
    up_ = false;
    drop_all(true);
    network_.paths_changed();
}

void Machine::power_on() {
    if (up_) return;
    network_.trace().record_on(0, TraceKind::power_on, number_);
    up_ = true;
}

// ---- calls on a stream

Connection* Machine::connection_of(int fd) const noexcept {
    const Socket* socket = find(fd);
    return socket ? socket->connection : nullptr;
}

// The socket, if it is connected or on the way to it; else null, and why.
Socket* Machine::stream(int fd, int& error) const noexcept {
    Socket* socket = find(fd);
    error = socket ? ENOTCONN : EBADF;
    return socket && socket->connection ? socket : nullptr;
}

std::size_t Machine::readable(int fd) const noexcept {
    const Socket* socket = find(fd);
    return socket && socket->connection ? socket->connection->readable(socket->side) : 0;
}

bool Machine::would_accept(int fd) const noexcept {
    const Socket* socket = find(fd);
    return !socket || !socket->listener || !socket->listener->queue.empty();
}

bool Machine::would_recv(int fd) const noexcept {
    const Socket* socket = find(fd);
    return !socket || !socket->connection || socket->connection->would_recv(socket->side);
}

bool Machine::would_send(int fd) const noexcept {
    const Socket* socket = find(fd);
    return !socket || !socket->connection || socket->connection->would_send(socket->side);
}

int Machine::recv(int fd, std::span<std::byte> into) {
    int error = 0;
    Socket* socket = stream(fd, error);
    if (!socket) return -error;
    const int result = socket->connection->recv(socket->side, into);
    if (result != -EAGAIN) network_.trace().record(TraceKind::recv, result, fd);
    return result;
}

int Machine::send(int fd, std::span<const std::byte> bytes) {
    int error = 0;
    Socket* socket = stream(fd, error);
    if (!socket) return error == ENOTCONN ? -EPIPE : -error;
    const int result = socket->connection->send(socket->side, bytes);
    if (result != -EAGAIN) network_.trace().record(TraceKind::send, result, fd);
    return result;
}

int Machine::shutdown_write(int fd) {
    int error = 0;
    Socket* socket = stream(fd, error);
    if (!socket) return error;
    network_.trace().record(TraceKind::shutdown_write, fd);
    return socket->connection->shutdown_write(socket->side);
}

int Machine::reset_on_close(int fd) {
    Socket* socket = find(fd);
    if (!socket) return EBADF;
    // SO_LINGER means nothing to unix sockets.
    socket->reset_on_close = socket->family != AF_UNIX;
    return 0;
}

// ---- names

void Machine::write(const Socket& socket, Name name, sockaddr_storage& into, socklen_t& size) {
    name.family = socket.family;  // an IPv4 peer of an IPv6 socket has a mapped address
    write_name(name, into, size);
}

int Machine::local_name(int fd, sockaddr_storage& name, socklen_t& size) const {
    const Socket* socket = find(fd);
    if (!socket) return EBADF;
    Name unbound;
    unbound.address = HostAddress::any(socket->family == AF_INET);
    if (socket->listener)
        write(*socket, socket->listener->name, name, size);
    else if (socket->connection)
        write(*socket, socket->connection->ends[socket->side].name, name, size);
    else
        write(*socket, unbound, name, size);
    return 0;
}

int Machine::peer_name(int fd, sockaddr_storage& name, socklen_t& size) const {
    int error = 0;
    const Socket* socket = stream(fd, error);
    if (!socket) return error;
    const Connection& connection = *socket->connection;
    const EndState state = connection.ends[socket->side].state;
    if (state != EndState::open && !connection.local) return ENOTCONN;
    write(*socket, connection.ends[1 - socket->side].name, name, size);
    return 0;
}

std::string Machine::describe(int fd) const {
    const Socket* socket = find(fd);
    std::string text = "fd " + std::to_string(fd) + " ";
    if (!socket) return text + "closed";
    if (socket->listener) {
        text += "listens on " + socket->listener->name.to_string() + ", ";
        return text + std::to_string(socket->listener->queue.size()) + " of " +
               std::to_string(socket->listener->backlog) + " waiting";
    }
    if (!socket->connection) return text + "unconnected";
    return text + socket->connection->describe(socket->side);
}

std::string Machine::describe() const {
    std::string text;
    for (const auto& socket : sockets_)
        if (socket) text += name_ + " " + describe(socket->fd) + "\n";
    return text;
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
