// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/offload_pool.hpp"

#include "runtime/src/runtime_state.hpp"
#include "runtime/src/signal_handler.hpp"
#include "runtime/src/sim/host.hpp"
#include "runtime/src/worker.hpp"

#include <exception>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

// ---- the call

OffloadedCall::OffloadedCall(void (*call)(OffloadedCall&) noexcept) noexcept : call_(call) {
    waits_in = WaitKind::offload;
    cancel = end_early;
}

bool OffloadedCall::start(FrameNode& node, std::coroutine_handle<> handle, const Limit& limit) noexcept {
    TaskContext& asking = *node.context;
    if (asking.is_cancelled()) {
        claim.settle(Wake::cancelled);
        return false;
    }
    pool_ = &asking.worker()->runtime().offload;
    if (pool_->push(*this, [&]() noexcept { begin(node, handle, limit); })) return true;
    rejected_ = true;
    return false;
}

// On the task's worker. A call that runs is waited for.
void OffloadedCall::end_early(Waiter& waiter, Wake why) noexcept {
    auto& self = static_cast<OffloadedCall&>(waiter);
    if (!self.pool_->withdraw(self)) return;
    self.claim.settle(why);  // nobody else contends any more
    self.finish();
}

std::error_code OffloadedCall::error() const noexcept {
    return rejected_ ? make_error_code(Errc::overloaded) : error_of(outcome());
}

// ---- the pool

bool OffloadPool::withdraw(OffloadedCall& call) noexcept {
    const std::lock_guard lock(mutex_);
    if (!call.queued_) return false;
    unlink(call);
    return true;
}

void OffloadPool::stop() noexcept {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        wanted_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
}

// One more thread, when all are busy and the options allow it. The signals of the process are not for it.
bool OffloadPool::have_thread() noexcept {
    if (host_ || idle_ > waiting_ || threads_.size() >= most_threads_) return true;
    try {
        const BlockedSignals blocked;
        threads_.emplace_back([this] { serve(); });
        return true;
    } catch (...) {
        return !threads_.empty();  // the others will come to it
    }
}

void OffloadPool::append(OffloadedCall& call) noexcept {
    call.queued_ = true;
    call.next_ = nullptr;
    call.previous_ = last_;
    (last_ ? last_->next_ : first_) = &call;
    last_ = &call;
    ++waiting_;
}

void OffloadPool::unlink(OffloadedCall& call) noexcept {
    call.queued_ = false;
    (call.previous_ ? call.previous_->next_ : first_) = call.next_;
    (call.next_ ? call.next_->previous_ : last_) = call.previous_;
    --waiting_;
}

void OffloadPool::serve() noexcept {
    std::unique_lock lock(mutex_);
    ++idle_;
    for (;;) {
        wanted_.wait(lock, [this] { return first_ || stopping_; });
        if (!first_) return;
        OffloadedCall& call = *take_first();
        lock.unlock();
        make(call);
        lock.lock();
    }
}

OffloadedCall* OffloadPool::take() noexcept {
    const std::lock_guard lock(mutex_);
    return take_first();
}

// With the mutex held.
OffloadedCall* OffloadPool::take_first() noexcept {
    if (!first_ || idle_ == 0) return nullptr;
    --idle_;
    OffloadedCall* call = first_;
    unlink(*call);
    return call;
}

void OffloadPool::make(OffloadedCall& call) noexcept {
    call.call_(call);
    call.ran_ = true;
    call.claim.settle(Wake::completed);
    {
        const std::lock_guard lock(mutex_);
        ++idle_;
    }
    call.wake();  // from here on the call may be gone
}

void OffloadPool::want_host() noexcept {
    host_->offload_wanted(*this);
}

}  // namespace detail
CHAINRING_END_NAMESPACE
