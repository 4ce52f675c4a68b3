// SPDX-License-Identifier: BSL-1.0
//
// Two echo servers in libevent. The usual one: a bufferevent for each connection, whose input is moved to its output.
// With --plain: an event for each connection and the system calls by hand, one buffer for all connections of a loop,
// which is more work for the user and less for the machine.
#include "tests/bench/echo/peer.hpp"

#include <array>
#include <cerrno>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

namespace {

template <class T>
T* check(const char* what, T* made) {
    if (!made) peer::fail(what, "failed");
    return made;
}

// ---- bufferevents

constexpr std::size_t high_water = 256 * 1024;  // of a client that does not read

void on_event(bufferevent* connection, short, void*) {
    bufferevent_free(connection);
}

void on_drained(bufferevent* connection, void*) {
    bufferevent_enable(connection, EV_READ);
}

void on_input(bufferevent* connection, void*) {
    evbuffer* output = bufferevent_get_output(connection);
    evbuffer_add_buffer(output, bufferevent_get_input(connection));  // moves it
    if (evbuffer_get_length(output) >= high_water) bufferevent_disable(connection, EV_READ);
}

void serve_buffered(event_base* base, evutil_socket_t fd) {
    bufferevent* connection = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!connection) {
        close(fd);
        return;
    }
    bufferevent_setcb(connection, on_input, on_drained, on_event, nullptr);
    bufferevent_enable(connection, EV_READ | EV_WRITE);
}

// ---- plain events

struct Connection {
    event* readable;
    event* writable;
    std::string rest;  // what the socket did not take

    static void serve(event_base* base, evutil_socket_t fd) {
        auto* self = new Connection;
        self->readable = check("event_new", event_new(base, fd, EV_READ | EV_PERSIST, on_readable, self));
        self->writable = check("event_new", event_new(base, fd, EV_WRITE, on_writable, self));
        event_add(self->readable, nullptr);
    }

private:
    static void on_readable(evutil_socket_t fd, short, void* argument) {
        static thread_local std::array<char, peer::buffer_bytes> buffer;
        auto* self = static_cast<Connection*>(argument);
        const ssize_t length = recv(fd, buffer.data(), buffer.size(), 0);
        if (length < 0 && errno == EAGAIN) return;
        if (length <= 0) return self->end(fd);
        const ssize_t sent = send(fd, buffer.data(), static_cast<std::size_t>(length), MSG_NOSIGNAL);
        if (sent == length) return;
        if (sent < 0 && errno != EAGAIN) return self->end(fd);
        const ssize_t taken = sent < 0 ? 0 : sent;
        self->rest.assign(buffer.data() + taken, static_cast<std::size_t>(length - taken));
        event_del(self->readable);  // until the rest has gone
        event_add(self->writable, nullptr);
    }

    static void on_writable(evutil_socket_t fd, short, void* argument) {
        auto* self = static_cast<Connection*>(argument);
        const ssize_t sent = send(fd, self->rest.data(), self->rest.size(), MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) return self->end(fd);
        if (sent > 0) self->rest.erase(0, static_cast<std::size_t>(sent));
        event_add(self->rest.empty() ? self->readable : self->writable, nullptr);
        if (self->rest.empty()) self->rest = {};
    }

    void end(evutil_socket_t fd) {
        event_free(readable);
        event_free(writable);
        close(fd);
        delete this;
    }
};

// ---- the loop

void on_connection(evconnlistener* listener, evutil_socket_t fd, sockaddr*, int, void* plain) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    event_base* base = evconnlistener_get_base(listener);
    *static_cast<bool*>(plain) ? Connection::serve(base, fd) : serve_buffered(base, fd);
}

class Loop {
public:
    explicit Loop(const peer::Options& options) : plain_(options.plain) {
        event_config* config = check("event_config_new", event_config_new());
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
        // Gathers the changes of a pass: epoll_ctl is called for those that last.
        event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
        base_ = check("event_base_new", event_base_new_with_config(config));
        event_config_free(config);
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(options.port);
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        unsigned flags = LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE;
        if (options.threads > 1) flags |= LEV_OPT_REUSEABLE_PORT;
        check("listen", evconnlistener_new_bind(base_, on_connection, &plain_, flags, peer::backlog,
                                                reinterpret_cast<const sockaddr*>(&address), sizeof address));
    }
    void run() { event_base_dispatch(base_); }

private:
    bool plain_;
    event_base* base_;
};

}  // namespace

int main(int argc, char** argv) {
    const auto options = peer::parse(argc, argv);
    return peer::serve<Loop>(options, options.plain ? "libevent, plain events" : "libevent");
}
