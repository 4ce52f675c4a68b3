// SPDX-License-Identifier: BSL-1.0
#include "net/src/listener_state.hpp"

#include <chainring/trap.hpp>

#include "runtime/src/runtime_state.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

// accept(2): errors of the connection, not of the listener; the next one may be fine.
bool concerns_one_connection(int error) noexcept {
    switch (error) {
        case ECONNABORTED:
        case EPROTO:
        case EINTR:
        case ENETDOWN:
        case ENOPROTOOPT:
        case EHOSTDOWN:
        case EHOSTUNREACH:
        case ENETUNREACH:
            return true;
        default:
            return false;
    }
}

}  // namespace

ListenRequest listen_request(const Address& address) noexcept {
    ListenRequest request;
    request.address = static_cast<const sockaddr*>(address.data());
    request.size = static_cast<socklen_t>(address.size());
    return request;
}

ListenerState::ListenerState(Worker& home, const ListeningSocket& socket, const Address& address,
                             const ListenOptions& options, std::shared_ptr<Admission> admission) noexcept
    : Resource(home),
      accept_(&endpoint_, this),
      address_(address),
      options_(options),
      admission_(std::move(admission)),
      path_inode_(socket.path_inode) {
    endpoint_.fd = socket.fd;
    accept_.once = admission_->rate() != nullptr;
    accept_.complete = [](Operation& operation, Completion completion) noexcept {
        static_cast<AcceptOperation&>(operation).listener->on_accepted(completion);
    };
    fire = [](TimerNode& node) noexcept { static_cast<ListenerState&>(node).arm(); };
    flush = [](FlushNode& node) noexcept {
        auto* self = &static_cast<ListenerState&>(node);
        const bool awaited = self->arriving_.load(std::memory_order_relaxed) > 0;
        if (self->released_ && self->endpoint_.fd < 0 && !awaited) delete self;
    };
    remote_node_.listener = this;
    remote_node_.run = [](InboxNode& node) noexcept {
        ListenerState* self = static_cast<RemoteNode&>(node).listener;
        self->released_ = true;
        self->close();
    };
    draining_ = home.draining();
}

ListenerState* ListenerState::make(Worker& home, const ListeningSocket& socket, const Address& address,
                                   const ListenOptions& options, ListenerState* first) {
    auto admission = first ? first->admission_ : std::make_shared<Admission>(options);
    return new ListenerState(home, socket, address, options, std::move(admission));
}

// ---- accepting

void ListenerState::arm() noexcept {
    if (accept_.armed || armed() || draining_ || closing_ || queue_.size() >= queue_limit) return;
    if (TokenBucket* rate = admission_->rate()) {
        if (const Duration wait = rate->time_until(1); wait > Duration::zero()) {
            home().timers().arm(*this, home().now() + wait);
            return;
        }
    }
    home().backend().submit(accept_);
}

void ListenerState::on_accepted(Completion completion) noexcept {
    if (completion.result >= 0) {
        // Into debt, when another worker's accept has taken the token meanwhile: the rate holds all the same.
        if (TokenBucket* rate = admission_->rate()) rate->charge(1);
        queue_.push_back(completion.result);
        pause_ = first_pause;
        wake_waiter(Wake::completed);
        if (queue_.size() >= queue_limit) home().backend().cancel(accept_);
    } else if (completion.result != -ECANCELED) {
        on_accept_error(-completion.result);
    }
    if (accept_.armed) return;
    if (draining_ || closing_)
        settle();
    else if (waiter_ || queue_.size() < queue_limit)
        arm();
}

void ListenerState::on_accept_error(int error) noexcept {
    if (concerns_one_connection(error) || draining_ || closing_) return;  // armed again by the caller
    home().timers().arm(*this, home().now() + pause_);
    pause_ = std::min(pause_ * 2, last_pause);
}

bool ListenerState::start_accept(AcceptOp& op, FrameNode& node, std::coroutine_handle<> handle) noexcept {
    CHAINRING_REQUIRE(!waiter_, "two accepts wait on one Listener at the same time");
    const auto refuse = [&op](Wake why) noexcept {
        op.claim.settle(why);
        return false;
    };
    if (node.context->is_cancelled()) return refuse(Wake::cancelled);
    if (draining_ && endpoint_.fd >= 0 && !accept_.armed) settle();  // made after the drain began
    if (!queue_.empty()) {
        op.fd_ = take();
        arm();
        return refuse(Wake::completed);
    }
    if (closing_) return refuse(Wake::closed);
    if (draining_ && endpoint_.fd < 0) return refuse(Wake::shutting_down);
    op.begin(node, handle, op.limit_);
    waiter_ = &op;
    arm();
    return true;
}

void ListenerState::wake_waiter(Wake why) noexcept {
    if (!waiter_ || !waiter_->try_claim(why)) return;
    AcceptOp& op = *std::exchange(waiter_, nullptr);
    if (why == Wake::completed) op.fd_ = take();
    op.finish();  // it carries its outcome; the task may go on anywhere
}

// The oldest connection that waits.
int ListenerState::take() noexcept {
    const int fd = queue_.front();
    queue_.pop_front();
    return fd;
}

void ListenerState::end_accept(AcceptOp& op, Wake why) noexcept {
    if (waiter_ == &op) wake_waiter(why);
}

unsigned ListenerState::next_worker() noexcept {
    const auto& workers = home().runtime().workers;
    if (options_.spread == Spread::reuse_port) return home().index();
    const auto count = static_cast<unsigned>(workers.size());
    const unsigned turn = next_worker_++ % count;
    if (options_.spread == Spread::round_robin) return turn;
    unsigned least = turn;  // ties go round
    for (unsigned step = 1; step < count; ++step) {
        const unsigned candidate = (turn + step) % count;
        if (workers[candidate]->links() < workers[least]->links()) least = candidate;
    }
    return least;
}

// ---- ending

void ListenerState::on_stop(Stop stop) noexcept {
    if (stop != Stop::drain) {
        if (stop == Stop::finished) close();
        return;
    }
    draining_ = true;
    home().timers().cancel(*this);
    if (accept_.armed)
        home().backend().cancel(accept_);
    else
        settle();
}

// Draining or closing, and the accept operation is over.
void ListenerState::settle() noexcept {
    if (endpoint_.fd >= 0 && !closing_) {
        while (const Result<int> fd = home().backend().accept_now(endpoint_.fd)) queue_.push_back(*fd);
    }
    close_socket();
    if (closing_) {
        for (const int fd : queue_) home().backend().close_unused(fd);
        queue_.clear();
        wake_waiter(Wake::closed);
        retire();
        home().flush_later(*this);
    } else {
        wake_waiter(queue_.empty() ? Wake::shutting_down : Wake::completed);
    }
}

void ListenerState::close_socket() noexcept {
    if (endpoint_.fd < 0) return;
    home().backend().close(endpoint_);
    home().backend().remove_path(listen_request(address_), path_inode_);
}

void ListenerState::close() noexcept {
    closing_ = true;
    home().timers().cancel(*this);
    if (accept_.armed)
        home().backend().cancel(accept_);
    else
        settle();
}

void ListenerState::task_arrived() noexcept {
    arriving_.fetch_sub(1, std::memory_order_relaxed);
    if (released_) home().flush_later(*this);
}

void ListenerState::drop_handle() noexcept {
    if (orphaned()) {
        delete this;
        return;
    }
    if (Worker::current() == &home()) {
        released_ = true;
        close();
    } else {
        home().post(remote_node_);
    }
}

}  // namespace detail
CHAINRING_END_NAMESPACE
