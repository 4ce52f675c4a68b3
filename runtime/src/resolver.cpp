// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/resolver.hpp"

#include "runtime/src/signal_handler.hpp"

#include <cerrno>
#include <cstring>
#include <netdb.h>
#include <thread>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

// AI_ADDRCONFIG: no IPv6 addresses, nor questions for them, where none is configured, and likewise for IPv4.
ResolvedName look_up(const std::string& host) noexcept {
    ResolvedName found;
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;  // each address once
    hints.ai_flags = AI_ADDRCONFIG;
    addrinfo* list = nullptr;
    found.error = ::getaddrinfo(host.c_str(), nullptr, &hints, &list);
    if (found.error != 0) {
        found.system_error = errno;
        return found;
    }
    try {
        for (const addrinfo* entry = list; entry; entry = entry->ai_next) {
            sockaddr_storage& address = found.addresses.emplace_back();
            std::memcpy(&address, entry->ai_addr, entry->ai_addrlen);
        }
    } catch (...) {
        found.error = EAI_MEMORY;
    }
    ::freeaddrinfo(list);
    return found;
}

}  // namespace

// Never destroyed: its threads may outlive main.
Resolver& Resolver::instance() noexcept {
    static Resolver& resolver = *new Resolver;
    return resolver;
}

bool Resolver::ask(std::shared_ptr<NameLookup> lookup) noexcept {
    const std::lock_guard lock(mutex_);
    NameLookup& asked = *lookup;
    try {
        queue_.push_back(std::move(lookup));
    } catch (...) {
        return false;
    }
    asked.place_ = std::prev(queue_.end());
    asked.queued_ = true;
    if (have_thread()) return true;
    queue_.pop_back();
    return false;
}

void Resolver::forget(NameLookup& lookup) noexcept {
    const std::lock_guard lock(mutex_);
    lookup.waiter_ = nullptr;
    if (!lookup.queued_) return;
    lookup.queued_ = false;
    queue_.erase(lookup.place_);  // the one who asked still holds it
}

// With the mutex held. Each thread that is there looks at the queue again before it ends.
bool Resolver::have_thread() noexcept {
    if (threads_ >= most_threads) return true;
    try {
        const BlockedSignals blocked;
        std::thread([this] { serve(); }).detach();
        ++threads_;
        return true;
    } catch (...) {
        return threads_ > 0;
    }
}

void Resolver::serve() noexcept {
    std::unique_lock lock(mutex_);
    while (!queue_.empty()) {
        const std::shared_ptr<NameLookup> lookup = std::move(queue_.front());
        queue_.pop_front();
        lookup->queued_ = false;
        lock.unlock();
        ResolvedName found = look_up(lookup->host_);
        lock.lock();
        RemoteWaiter* const waiter = lookup->waiter_;
        // Under the mutex: one that ends early cannot go before it has passed forget().
        if (!waiter || !waiter->try_claim(Wake::completed)) continue;
        lookup->waiter_ = nullptr;
        lookup->answer_ = std::move(found);
        waiter->wake();  // from here on the waiter may be gone
    }
    --threads_;
}

}  // namespace detail
CHAINRING_END_NAMESPACE
