// SPDX-License-Identifier: BSL-1.0
// What the tests of connecting connect to.
#pragma once

#include "tests/unit/support.hpp"

#include <cstdint>
#include <sstream>
#include <string>
#include <string_view>
#include <unistd.h>
#include <vector>

namespace support {

// A port that is bound and that nobody listens on: connecting is refused, and the kernel gives it to nobody else. In a
// simulated world, one that nobody has. On a worker.
class DeadPort {
public:
    explicit DeadPort(const std::string& host = "127.0.0.1") {
        if (wanted_backend() == "sim") {
            address_ = Address::parse(host + ":9").value();
            return;
        }
        const Address any = Address::parse(host + ":0").value();
        fd_ = ::socket(any.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
        REQUIRE(::bind(fd_, static_cast<const sockaddr*>(any.data()), static_cast<socklen_t>(any.size())) == 0);
        sockaddr_storage storage{};
        socklen_t size = sizeof storage;
        ::getsockname(fd_, reinterpret_cast<sockaddr*>(&storage), &size);
        address_ = Address::from_sockaddr(&storage, size);
    }
    DeadPort(const DeadPort&) = delete;
    DeadPort& operator=(const DeadPort&) = delete;
    ~DeadPort() {
        if (fd_ >= 0) ::close(fd_);
    }
    const Address& address() const noexcept { return address_; }
    // Listens from now on, for whoever is patient.
    void listen() {
        if (fd_ >= 0)
            REQUIRE(::listen(fd_, 100) == 0);
        else
            listener_ = Listener::bind(address_).await_resume().value();  // never suspends
    }

private:
    int fd_ = -1;
    Address address_;
    Listener listener_;
};

// A listener whose queue is full, so that the kernel drops what comes: connecting to it takes until one gives up.
class StuckListener {
public:
    // With port 0 a free one.
    explicit StuckListener(const std::string& host = "127.0.0.1", std::uint16_t port = 0) {
        Address at = Address::parse(host + ":0").value();
        at.set_port(port);
        if (wanted_backend() == "sim") {
            ListenOptions options;
            options.backlog = 1;
            auto bound = Listener::bind(at, options).await_resume();
            if (!bound) return;
            listener_ = std::move(*bound);
            address_ = listener_.address();
            return;
        }
        listening_ = ::socket(at.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (::bind(listening_, static_cast<const sockaddr*>(at.data()), static_cast<socklen_t>(at.size())) != 0) return;
        ::listen(listening_, 0);
        sockaddr_storage storage{};
        socklen_t size = sizeof storage;
        ::getsockname(listening_, reinterpret_cast<sockaddr*>(&storage), &size);
        address_ = Address::from_sockaddr(&storage, size);
    }
    StuckListener(const StuckListener&) = delete;
    StuckListener& operator=(const StuckListener&) = delete;
    ~StuckListener() {
        queued_.clear();
        if (listening_ >= 0) ::close(listening_);
    }
    const Address& address() const noexcept { return address_; }
    bool is_bound() const noexcept { return address_.family() != 0; }

    // To be awaited first. The clock of the runtime may be a manual one.
    Task<> fill() {
        for (bool full = false; !full;) {
            const std::size_t before = queued_.size();
            Scope scope;
            scope.spawn(join_queue, this);
            co_await passes(20);
            co_await arrived();
            scope.cancel();
            co_await scope.join();
            full = queued_.size() == before;
        }
    }

private:
    static Task<> join_queue(StuckListener* self) {
        auto link = co_await Link::connect(self->address_);
        if (link) self->queued_.push_back(std::move(*link));
    }
    int listening_ = -1;
    Listener listener_;
    Address address_;
    std::vector<Link> queued_;
};

inline std::string report() {
    std::ostringstream out;
    Runtime::current().dump_tasks(out);
    return out.str();
}

// Until as many waits of all tasks are of that kind, as reports name it.
inline Task<> until_waiting_in(std::string_view kind, unsigned count = 1) {
    const std::string wanted = ": " + std::string(kind);
    for (;;) {
        unsigned found = 0;
        const std::string text = report();
        for (auto at = text.find(wanted); at != text.npos; at = text.find(wanted, at + 1)) ++found;
        if (found >= count) co_return;
        co_await yield();
    }
}

// A runtime of one worker with a clock that stands still.
struct Timed {
    Timed() {
        options = one_worker();
        options.clock = &clock;
    }
    ManualClock clock;
    RuntimeOptions options;
};

}  // namespace support
