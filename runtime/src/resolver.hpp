// SPDX-License-Identifier: BSL-1.0
// Resolver: the system's name resolution, getaddrinfo(3), off the workers. It cannot be interrupted, and may take half
// a minute when no name server answers; so the one who asked may go before the answer, a Runtime, too.
//
//   1 asked      ask(): in the queue. forget() takes it out again
//   2 running    a thread has taken it out. forget(): the thread goes on alone, and what it finds is dropped
//   3 answered   the thread has claimed the wait, stored the answer and woken the one who asked
//
// A NameLookup is shared by the one who asked and the queue or the thread: nothing that getaddrinfo writes to goes
// before it has returned. The threads are the process's, not a Runtime's, and detached: nobody waits for them, and the
// process may end under them. At most `most_threads`; one ends when it finds the queue empty.
//
// Threads: ask and forget on the waiter's worker.
#pragma once

#include <chainring/config.hpp>
#include <chainring/time.hpp>

#include <cstddef>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <sys/socket.h>
#include <utility>
#include <vector>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// What the system's resolver, or who stands in for it, has found.
struct ResolvedName {
    int error = 0;                            // 0, or EAI_... of netdb.h
    int system_error = 0;                     // the errno, with EAI_SYSTEM
    std::vector<sockaddr_storage> addresses;  // best first (RFC 6724); without ports
};

class NameLookup {
public:
    NameLookup(std::string host, RemoteWaiter& waiter) noexcept : host_(std::move(host)), waiter_(&waiter) {}
    const std::string& host() const noexcept { return host_; }
    const ResolvedName& answer() const noexcept { return answer_; }  // once the wait has ended as completed

private:
    friend class Resolver;
    const std::string host_;
    ResolvedName answer_;  // the thread's, until it has woken the waiter
    // Guarded by the Resolver's mutex.
    RemoteWaiter* waiter_;  // null: answered, or forgotten
    bool queued_ = false;
    std::list<std::shared_ptr<NameLookup>>::iterator place_;
};

class Resolver {
public:
    static constexpr unsigned most_threads = 16;

    // The process's.
    static Resolver& instance() noexcept;

    // For a wait that has begun; from here on it may end. False: there is neither memory nor a thread for it.
    bool ask(std::shared_ptr<NameLookup> lookup) noexcept;
    // By the winner of the claim, when it was another than the answer.
    void forget(NameLookup& lookup) noexcept;

private:
    Resolver() = default;
    bool have_thread() noexcept;
    void serve() noexcept;

    std::mutex mutex_;  // guards all below
    std::list<std::shared_ptr<NameLookup>> queue_;
    unsigned threads_ = 0;
};

}  // namespace detail
CHAINRING_END_NAMESPACE
