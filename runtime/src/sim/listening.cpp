// SPDX-License-Identifier: BSL-1.0
// How a machine's streams come to be: bind and listen, accept, connect.
#include "runtime/src/sim/machine.hpp"
#include "runtime/src/sim/network.hpp"

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail::sim {

namespace {

constexpr std::uint16_t first_ephemeral = 32'768;  // ip_local_port_range
constexpr std::uint16_t last_ephemeral = 60'999;

// Can one address be reached through both? `::` stands for IPv4, too: IPV6_V6ONLY is off.
bool overlap(const HostAddress& one, const HostAddress& other) noexcept {
    const auto takes = [](const HostAddress& wide, const HostAddress& narrow) {
        return wide.is_any() && (!wide.is_v4() || narrow.is_v4());
    };
    return one == other || takes(one, other) || takes(other, one);
}

std::error_code system_error(int error) noexcept {
    return {error, std::system_category()};
}

}  // namespace

// ---- listening

bool Machine::port_taken(const Name& name, bool joins) const noexcept {
    return std::any_of(listeners_.begin(), listeners_.end(), [&](const Socket* socket) {
        const Listener& other = *socket->listener;
        return other.name.port == name.port && overlap(other.name.address, name.address) && !(joins && other.shared);
    });
}

// The next of the ephemeral ports that nobody listens on.
std::uint16_t Machine::free_port() {
    for (;;) {
        const std::uint16_t port = next_port_;
        next_port_ = port == last_ephemeral ? first_ephemeral : static_cast<std::uint16_t>(port + 1);
        const bool taken = std::any_of(listeners_.begin(), listeners_.end(),
                                       [port](const Socket* socket) { return socket->listener->name.port == port; });
        if (!taken) return port;
    }
}

Machine::Path* Machine::find_path(const std::string& path) noexcept {
    const auto found = std::find_if(paths_.begin(), paths_.end(), [&](const Path& at) { return at.path == path; });
    return found == paths_.end() ? nullptr : &*found;
}

// As OsBackend binds: a socket file that nobody listens on any more is replaced.
int Machine::bind_path(Listener& listener, std::uint64_t& inode) {
    if (Path* path = find_path(listener.name.path)) {
        if (path->listener) return EADDRINUSE;
        path->inode = next_inode_++;
        inode = path->inode;
        return 0;
    }
    paths_.push_back(Path{listener.name.path, next_inode_++, nullptr});
    inode = listener.name.is_abstract() ? 0 : paths_.back().inode;
    return 0;
}

int Machine::bind(Listener& listener, const ListenRequest& request, std::uint64_t& inode) {
    if (const int error = read_name(request.address, request.size, listener.name)) return error;
    if (listener.name.is_unix()) return bind_path(listener, inode);
    const HostAddress& address = listener.name.address;
    if (!address.is_any() && !address.is_loopback() && !has(address)) return EADDRNOTAVAIL;
    if (listener.name.port == 0) listener.name.port = free_port();
    return port_taken(listener.name, request.joins) ? EADDRINUSE : 0;
}

Result<ListeningSocket> Machine::listen(const ListenRequest& request) {
    if (!request.address || request.size < sizeof(sa_family_t)) return system_error(EINVAL);
    const int fd = open_stream(request.address->sa_family);
    if (fd < 0) return system_error(-fd);
    auto listener = std::make_unique<Listener>();
    std::uint64_t inode = 0;
    if (const int error = bind(*listener, request, inode)) {
        close(fd);
        return system_error(error);
    }
    listener->backlog = static_cast<unsigned>(std::clamp(request.backlog, 0, 4096));  // somaxconn
    listener->shared = request.joins || request.shares;
    Socket& socket = *find(fd);
    if (listener->name.is_unix())
        find_path(listener->name.path)->listener = &socket;
    else
        listeners_.push_back(&socket);
    network_.trace().record(TraceKind::listen, fd, listener->name.port);
    socket.listener = std::move(listener);
    return ListeningSocket{fd, inode};
}

void Machine::remove_path(const ListenRequest& request, std::uint64_t inode) {
    Name name;
    if (inode == 0 || read_name(request.address, request.size, name) != 0 || !name.is_unix()) return;
    std::erase_if(paths_, [&](const Path& path) { return path.path == name.path && path.inode == inode; });
}

// The most exact address wins, then IPv4 over `::`; among those that share a port the seed decides.
Socket* Machine::find_listener(const HostAddress& address, std::uint16_t port, Random& random) const {
    const auto fits = [&](const Socket& socket) {
        const Name& name = socket.listener->name;
        if (name.port != port) return 0;
        if (name.address == address) return 3;
        if (!name.address.is_any()) return 0;
        if (name.address.is_v4()) return address.is_v4() ? 2 : 0;
        return 1;
    };
    int best = 0;
    std::uint64_t count = 0;
    for (const Socket* socket : listeners_) {
        const int fit = fits(*socket);
        if (fit == 0 || fit < best) continue;
        count = fit > best ? 1 : count + 1;
        best = fit;
    }
    if (best == 0) return nullptr;
    std::uint64_t which = count > 1 ? random.below(count) : 0;
    for (Socket* socket : listeners_)
        if (fits(*socket) == best && which-- == 0) return socket;
    return nullptr;
}

int Machine::accept(int fd) {
    Socket* socket = find(fd);
    if (!socket) return -EBADF;
    if (!socket->listener) return -EINVAL;
    Listener& listener = *socket->listener;
    if (listener.queue.empty()) return -EAGAIN;
    if (network_.random().chance(network_.mischief.abort_accept, 1000)) {
        Connection& connection = *listener.queue.pop();
        network_.trace().record(TraceKind::aborted, connection.number, fd);
        connection.ends[1].queued = false;
        connection.close(1, true);
        return -ECONNABORTED;
    }
    const int accepted = take_descriptor(socket->family);
    if (accepted < 0) return accepted;
    Connection& connection = *listener.queue.pop();
    connection.ends[1].queued = false;
    Socket& made = *find(accepted);
    made.connection = &connection;
    made.side = 1;
    connection.ends[1].socket = &made;
    ++network_.count().accepted;
    network_.trace().record(TraceKind::accept, accepted, fd);
    return accepted;
}

// ---- connecting

int Machine::connect(int fd, const sockaddr* address, socklen_t size) {
    Socket* socket = find(fd);
    if (!socket) return -EBADF;
    if (socket->listener) return -EINVAL;
    if (socket->connection) return socket->connection->ends[0].state == EndState::opening ? -EALREADY : -EISCONN;
    Name to;
    if (const int error = read_name(address, size, to)) return -error;
    // An IPv6 socket reaches IPv4 by mapped addresses only.
    if (to.family != socket->family) return -EAFNOSUPPORT;
    network_.trace().record(TraceKind::connect, fd, to.port);
    if (to.is_unix()) return connect_local(*socket, to);

    const bool v4 = to.address.is_v4();
    if (to.address.is_any()) to.address = HostAddress::loopback(v4);
    Name from;
    from.family = socket->family;
    const bool to_self = to.address.is_loopback() || has(to.address);
    if (to_self) {
        from.address = to.address.is_loopback() ? HostAddress::loopback(v4) : to.address;
    } else {
        const auto own = std::find_if(addresses_.begin(), addresses_.end(),
                                      [v4](const HostAddress& at) { return at.is_v4() == v4; });
        if (own == addresses_.end()) return -ENETUNREACH;
        from.address = *own;
    }
    from.port = free_port();

    Connection& connection = network_.begin_connection(false);
    End& client = connection.ends[0];
    End& server = connection.ends[1];
    client.machine = this;
    client.name = std::move(from);
    client.socket = socket;
    client.state = EndState::opening;
    server.machine = to_self ? this : network_.find(to.address);
    server.name = std::move(to);
    socket->connection = &connection;
    socket->side = 0;
    connection.send_syn();
    return -EINPROGRESS;
}

// Over a unix socket a connect is done at once, or refused.
int Machine::connect_local(Socket& socket, const Name& to) {
    Path* path = find_path(to.path);
    if (!path) return to.is_abstract() ? -ECONNREFUSED : -ENOENT;
    if (!path->listener) return -ECONNREFUSED;
    if (path->listener->listener->full()) return -EAGAIN;
    Connection& connection = network_.begin_connection(true);
    End& client = connection.ends[0];
    End& server = connection.ends[1];
    client.machine = server.machine = this;
    client.name.family = AF_UNIX;
    client.socket = &socket;
    client.state = EndState::open;
    server.name = to;
    socket.connection = &connection;
    socket.side = 0;
    ++network_.count().established;
    connection.enter_queue(*path->listener);
    return 0;
}

int Machine::connect_outcome(int fd) {
    int error = 0;
    const Socket* socket = stream(fd, error);
    if (!socket) return -error;
    End& end = socket->connection->ends[socket->side];
    if (end.state == EndState::opening) return -EINPROGRESS;
    return -std::exchange(end.error, 0);
}

}  // namespace detail::sim
CHAINRING_END_NAMESPACE
