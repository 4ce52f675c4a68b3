// SPDX-License-Identifier: BSL-1.0
//
// An echo server in libuv. It asks for a buffer only when there is something to read, and uv_try_write sends at once,
// so one buffer serves all connections of a loop; what the socket does not take is copied, and the connection is not
// read until that has gone.
#include "tests/bench/echo/peer.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <sys/socket.h>
#include <uv.h>

namespace {

void check(const char* what, int result) {
    if (result < 0) peer::fail(what, uv_strerror(result));
}

struct Connection {
    uv_tcp_t socket;
    uv_write_t write;
    std::string rest;  // what `write` sends

    uv_stream_t* stream() { return reinterpret_cast<uv_stream_t*>(&socket); }
};

class Loop {
public:
    explicit Loop(const peer::Options& options) {
        check("uv_loop_init", uv_loop_init(&loop_));
        loop_.data = this;
        sockaddr_in address;
        check("uv_ip4_addr", uv_ip4_addr("127.0.0.1", options.port, &address));
        check("uv_tcp_init_ex", uv_tcp_init_ex(&loop_, &listener_, AF_INET));
        if (options.threads > 1) share_port();
        check("uv_tcp_bind", uv_tcp_bind(&listener_, reinterpret_cast<const sockaddr*>(&address), 0));
        check("uv_listen", uv_listen(reinterpret_cast<uv_stream_t*>(&listener_), peer::backlog, on_connection));
    }
    void run() { uv_run(&loop_, UV_RUN_DEFAULT); }

private:
    void share_port() {
        uv_os_fd_t fd = -1;
        check("uv_fileno", uv_fileno(reinterpret_cast<const uv_handle_t*>(&listener_), &fd));
        const int on = 1;
        if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on)) peer::fail("setsockopt", "SO_REUSEPORT");
    }

    static void on_connection(uv_stream_t* listener, int status) {
        if (status < 0) return;
        auto* connection = new Connection;
        connection->socket.data = connection;
        connection->write.data = connection;
        uv_tcp_init(listener->loop, &connection->socket);
        if (uv_accept(listener, connection->stream()) < 0) return close(connection);
        uv_tcp_nodelay(&connection->socket, 1);
        uv_read_start(connection->stream(), lend_buffer, on_read);
    }

    static void lend_buffer(uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
        auto& memory = static_cast<Loop*>(handle->loop->data)->buffer_;
        *buffer = uv_buf_init(memory.data(), static_cast<unsigned>(memory.size()));
    }

    static void on_read(uv_stream_t* stream, ssize_t length, const uv_buf_t* buffer) {
        auto* connection = static_cast<Connection*>(stream->data);
        if (length < 0) return close(connection);
        if (length == 0) return;
        uv_buf_t data = uv_buf_init(buffer->base, static_cast<unsigned>(length));
        const int sent = uv_try_write(stream, &data, 1);
        if (sent == length) return;
        if (sent < 0 && sent != UV_EAGAIN) return close(connection);
        const auto taken = static_cast<std::size_t>(std::max(sent, 0));
        connection->rest.assign(data.base + taken, data.len - taken);
        data = uv_buf_init(connection->rest.data(), static_cast<unsigned>(connection->rest.size()));
        uv_read_stop(stream);
        if (uv_write(&connection->write, stream, &data, 1, on_written) < 0) close(connection);
    }

    static void on_written(uv_write_t* write, int status) {
        auto* connection = static_cast<Connection*>(write->data);
        if (status < 0) return close(connection);
        connection->rest = {};
        uv_read_start(connection->stream(), lend_buffer, on_read);
    }

    static void close(Connection* connection) {
        auto* handle = reinterpret_cast<uv_handle_t*>(&connection->socket);
        if (uv_is_closing(handle)) return;
        uv_close(handle, [](uv_handle_t* closed) { delete static_cast<Connection*>(closed->data); });
    }

    uv_loop_t loop_;
    uv_tcp_t listener_;
    std::array<char, peer::buffer_bytes> buffer_;
};

}  // namespace

int main(int argc, char** argv) {
    return peer::serve<Loop>(peer::parse(argc, argv), "libuv");
}
