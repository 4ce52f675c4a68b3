// SPDX-License-Identifier: BSL-1.0
// The life of a Link's slot: handles, closing, the timer. See link_state.hpp for the states.
#include "net/src/link_state.hpp"

#include <chainring/trap.hpp>

#include <sys/socket.h>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {
// Here and not in link_reports.cpp: this file is in every program that has a Link.
[[maybe_unused]] const bool reports_registered = (register_link_reports(), true);
}  // namespace

LinkState::LinkState(Worker& home_worker, int fd) noexcept
    : Resource(home_worker), LinkRecv(OperationKind::recv, nullptr), LinkSend(nullptr) {
    endpoint_.fd = fd;
    recv_op().endpoint = send_op().endpoint = &endpoint_;
    flush = [](FlushNode& node) noexcept { static_cast<LinkState&>(node).flush_node(); };
    fire = [](TimerNode& node) noexcept { static_cast<LinkState&>(static_cast<RenewedTimer&>(node)).on_timer(); };
    recv_op().complete = [](Operation& operation, Completion completion) noexcept {
        static_cast<LinkState&>(static_cast<LinkRecv&>(operation)).on_recv(completion);
    };
    send_op().complete = [](Operation& operation, Completion completion) noexcept {
        static_cast<LinkState&>(static_cast<LinkSend&>(operation)).on_sent(completion);
    };
    InboxNode::run = [](InboxNode& node) noexcept {
        auto& self = static_cast<LinkState&>(node);
        // acq_rel: takes over what the signallers wrote, and lets the next one post the node again.
        self.on_remote(self.remote_.exchange(0, std::memory_order_acq_rel));
    };
    draining_ = home_worker.draining();
    home_worker.link_made();
}

LinkState* LinkState::adopt(Worker& home, int fd) {
    try {
        return take_over(home, fd);
    } catch (...) {
        home.backend().close_unused(fd);
        throw;
    }
}

// ---- handles

void LinkState::drop_handle() noexcept {
    // acq_rel: whoever sees the last handle go sees what was done through the others.
    if (handles_.fetch_sub(1, std::memory_order_acq_rel) == 1) signal(remote_released);
}

void LinkState::drop_link_handle() noexcept {
    const bool last = handles_.load(std::memory_order_acquire) == 1;
    if (last) {
        handles_.store(0, std::memory_order_relaxed);  // nobody else is left to look
        signal(remote_link_dropped | remote_released);
        return;
    }
    signal(remote_link_dropped);
    drop_handle();
}

void LinkState::request_abort() noexcept {
    signal(remote_abort);
}

void LinkState::signal(std::uint8_t bits) noexcept {
    if (orphaned()) {
        end_posts();
        if (bits & remote_released) delete this;
        return;
    }
    if (Worker::current() == &home()) {
        on_remote(bits);
        return;
    }
    // acq_rel: publishes what goes with the bits. Only the first of several posts the node.
    if (remote_.fetch_or(bits, std::memory_order_acq_rel) == 0) home().post(static_cast<InboxNode&>(*this));
}

void LinkState::on_remote(std::uint8_t bits) noexcept {
    if (bits & remote_posts) look_at_posts();
    if (bits & (remote_idle | remote_force)) take_limits(bits);
    if (bits & remote_abort) abort();
    if (bits & remote_link_dropped) link_dropped();
    if (bits & remote_released) released_ = true;
    if (may_free()) home().flush_later(*this);
}

void LinkState::link_dropped() noexcept {
    if (phase_ != Phase::open) return;
    if (!served_) {
        abort();
        return;
    }
    close_gently(Wake::closed);
}

// ---- closing

// A graceful end that nobody waits for.
void LinkState::close_gently(Wake reader_ends) noexcept {
    if (home().cancelling()) {
        end();  // nobody would end it later
        return;
    }
    timed_ = true;
    begin_graceful_end(reader_ends);
    home().renew_now(timer(), linger_time);
    flushed();
}

void LinkState::begin_graceful_end(Wake reader_ends) noexcept {
    phase_ = Phase::flushing;
    graceful_ = true;
    refuse_posts();
    wake_reader(reader_ends);
    drop_unread();
    want_data();  // to discard it
}

// Nothing may be left to send: then the next state is reached.
void LinkState::flushed() noexcept {
    if (phase_ != Phase::flushing || out_head_) return;
    if (send_op().armed) return expect_sent();
    if (!graceful_ || write_error_ || read_side_ != ReadSide::open) {
        if (closer_) closer_->peer_ended_ = !write_error_ && read_side_ == ReadSide::eof;
        end();
        return;
    }
    phase_ = Phase::lingering;
    if (!fin_sent_) home().backend().shutdown_write(endpoint_.fd);
    fin_sent_ = true;
    if (timed_) home().renew_now(timer(), linger_time);
    want_data();
}

void LinkState::begin_close(CloseWait* closer) noexcept {
    CHAINRING_REQUIRE(!closer_, "two closes wait on one Link at the same time");
    closer_ = closer;
    if (phase_ != Phase::open) return;  // already on its way
    if (closer->graceful_) {
        begin_graceful_end(Wake::closed);
    } else {
        phase_ = Phase::flushing;
        refuse_posts();
        pause_recv();
        wake_reader(Wake::closed);
    }
    flushed();
}

// What has gone to the kernel is left to it: a reset would take it from a peer that is slow to read.
void LinkState::close_no_longer() noexcept {
    if (phase_ == Phase::lingering)
        end();
    else
        abort();
}

void LinkState::abort() noexcept {
    if (phase_ >= Phase::ending) return;
    home().backend().reset_on_close(endpoint_.fd);
    end();
}

void LinkState::end() noexcept {
    if (phase_ >= Phase::ending) return;
    phase_ = Phase::ending;
    fail_writes(make_error_code(Errc::closed));
    wake_reader(Wake::closed);
    home().unstarve(*this);
    Backend& backend = home().backend();
    backend.cancel(recv_op());
    if (!send_op().unawaited)
        backend.cancel(send_op());
    else
        backend.expect(send_op());  // it does not wait, and its sender was told that the Link has the bytes: let it go
    finish_end();
}

// Called again at each terminal completion while ending.
void LinkState::finish_end() noexcept {
    if (phase_ != Phase::ending || recv_op().armed || send_op().armed) return;
    phase_ = Phase::closed;
    drop_unread();
    home().unstarve(*this);
    home().cancel(timer());
    cancel_limits();
    {
        const std::lock_guard lock(closing_);
        home().backend().close(endpoint_);
    }
    if (CloseWait* closer = std::exchange(closer_, nullptr))
        if (closer->try_claim(Wake::completed)) closer->finish();
    home().link_gone();
    retire();
    home().flush_later(*this);
}

bool LinkState::may_free() const noexcept {
    return released_ && phase_ == Phase::closed && !reader_ && remote_.load(std::memory_order_acquire) == 0;
}

void LinkState::on_stop(Stop stop) noexcept {
    draining_ = true;
    if (stop == Stop::cancel) {
        // Tasks are cancelled by their scopes. A Link that only its own closing keeps alive ends now.
        if (phase_ == Phase::flushing || phase_ == Phase::lingering) end();
        return;
    }
    if (stop == Stop::finished) {
        if (phase_ == Phase::open) abort();  // its handle was kept outside of every task
        return;
    }
    if (reading_allowed()) return;
    pause_recv();
    if (!recv_op().armed) end_idle_reader();
}

// ---- the timer: a receive's limit, then the time that closing may take

void LinkState::on_timer() noexcept {
    const bool open = phase_ == Phase::open;
    if (open && (!reader_ || !reader_->limit_.given())) return;  // the next receive with a limit arms it again
    if (!open && !timed_) return;
    if (!home().timers().passed(timer())) return;
    if (open) {
        wake_reader(Wake::timed_out);
    } else if (phase_ == Phase::lingering) {
        end();
    } else if (phase_ == Phase::flushing) {
        // No completion for linger_time. A send completes as a whole: whether any of it has gone, its cancel tells.
        if (send_op().armed) {
            stall_check_ = true;
            home().backend().cancel(send_op());
        } else {
            abort();
        }
    }
}

// ---- reports

Result<Address> LinkState::name(GetName get_name) const noexcept {
    sockaddr_storage storage{};
    socklen_t length = sizeof storage;
    const std::lock_guard lock(closing_);  // the descriptor cannot be closed meanwhile
    if (endpoint_.fd < 0) return Errc::closed;
    if (const int error = (home().backend().*get_name)(endpoint_.fd, storage, length))
        return std::error_code(error, std::system_category());
    return Address::from_sockaddr(&storage, length);
}

Result<TcpInfo> LinkState::tcp_info() const noexcept {
    StreamInfo found;
    const std::lock_guard lock(closing_);  // as above
    if (endpoint_.fd < 0) return Errc::closed;
    if (const int error = home().backend().stream_info(endpoint_.fd, found))
        return std::error_code(error, std::system_category());
    TcpInfo info;
    info.round_trip = found.round_trip;
    info.round_trip_variation = found.round_trip_variation;
    info.bytes_sent = found.bytes_sent;
    info.bytes_received = found.bytes_received;
    info.retransmits = found.retransmits;
    info.unacknowledged = found.unacknowledged;
    return info;
}

void LinkState::describe(std::string& out) const {
    const auto append_name = [&out, this](GetName get_name) {
        const Result<Address> found = name(get_name);
        out += found ? found->to_string() : "?";
    };
    out += "Link ";
    append_name(&Backend::local_name);
    out += " from ";
    append_name(&Backend::peer_name);
    out += " (fd " + std::to_string(endpoint_.fd) + ")";
}

}  // namespace detail
CHAINRING_END_NAMESPACE
