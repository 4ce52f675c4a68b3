// SPDX-License-Identifier: BSL-1.0
//
// An echo server in Asio's usual form: a session that owns its socket and its buffer, and is owned by the operation
// that is under way. Built twice: on epoll, and with ASIO_HAS_IO_URING and ASIO_DISABLE_EPOLL on io_uring.
#include "tests/bench/echo/peer.hpp"

#include <array>
#include <asio.hpp>
#include <utility>

namespace {

using asio::ip::tcp;
using ReusePort = asio::detail::socket_option::boolean<SOL_SOCKET, SO_REUSEPORT>;

class Session {
public:
    explicit Session(tcp::socket socket) : socket_(std::move(socket)) {
        asio::error_code ignored;
        socket_.set_option(tcp::no_delay(true), ignored);
    }

    // The pointer moves from handler to handler: no count changes on the way.
    static void read(std::shared_ptr<Session> self) {
        auto& session = *self;
        session.socket_.async_read_some(
            asio::buffer(session.buffer_),
            [self = std::move(self)](const asio::error_code& error, std::size_t length) mutable {
                if (!error) write(std::move(self), length);
            });
    }

private:
    static void write(std::shared_ptr<Session> self, std::size_t length) {
        auto& session = *self;
        asio::async_write(session.socket_, asio::buffer(session.buffer_, length),
                          [self = std::move(self)](const asio::error_code& error, std::size_t) mutable {
                              if (!error) read(std::move(self));
                          });
    }

    tcp::socket socket_;
    std::array<char, peer::buffer_bytes> buffer_;
};

class Loop {
public:
    explicit Loop(const peer::Options& options) : acceptor_(context_, tcp::v4()) {
        acceptor_.set_option(tcp::acceptor::reuse_address(true));
        if (options.threads > 1) acceptor_.set_option(ReusePort(true));
        acceptor_.bind({asio::ip::address_v4::loopback(), options.port});
        acceptor_.listen(peer::backlog);
        accept();
    }
    void run() { context_.run(); }

private:
    void accept() {
        acceptor_.async_accept([this](const asio::error_code& error, tcp::socket socket) {
            if (!error) Session::read(std::make_shared<Session>(std::move(socket)));
            accept();
        });
    }

    // One thread runs it and nobody else touches it: no locks.
    asio::io_context context_{ASIO_CONCURRENCY_HINT_UNSAFE};
    tcp::acceptor acceptor_;
};

}  // namespace

int main(int argc, char** argv) {
#ifdef ASIO_HAS_IO_URING
    const char* library = "asio, io_uring";
#else
    const char* library = "asio, epoll";
#endif
    try {
        return peer::serve<Loop>(peer::parse(argc, argv), library);
    } catch (const std::exception& error) {
        peer::fail(library, error.what());
    }
}
