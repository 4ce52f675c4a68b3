// SPDX-License-Identifier: BSL-1.0
// What the waits of net say of themselves in a report of the tasks (runtime/src/task_report.hpp). Called while the
// wait's worker is held.
#include <chainring/link.hpp>
#include <chainring/link_operations.hpp>
#include <chainring/listener.hpp>
#include <chainring/resolve.hpp>

#include "net/src/link_state.hpp"
#include "net/src/listener_state.hpp"
#include "runtime/src/task_report.hpp"

CHAINRING_BEGIN_NAMESPACE
namespace detail {

struct LinkReports {
    static void register_all() noexcept {
        for (const WaitKind kind : {WaitKind::recv, WaitKind::recv_exact, WaitKind::recv_until})
            describe_waits(kind, [](const Waiter& waiter, const TaskReport&, std::string& out) {
                static_cast<const ReadOp&>(waiter).link_->describe(out);
            });
        for (const WaitKind kind : {WaitKind::send, WaitKind::shutdown_write})
            describe_waits(kind, [](const Waiter& waiter, const TaskReport&, std::string& out) {
                const auto& op = static_cast<const SendOp&>(waiter);
                op.link_->describe(out);
                if (op.left > 0) out += ", " + std::to_string(op.left) + " bytes to go";
            });
        describe_waits(WaitKind::outbox, [](const Waiter& waiter, const TaskReport&, std::string& out) {
            const auto& wait = static_cast<const Outbox::Wait&>(waiter);
            out += wait.for_ == Outbox::Wait::For::drained ? "to drain, " : "for room, ";
            wait.outbox_.link_->describe(out);
        });
        describe_waits(WaitKind::close, [](const Waiter& waiter, const TaskReport&, std::string& out) {
            static_cast<const CloseWait&>(waiter).link_->describe(out);
        });
        describe_waits(WaitKind::connect, [](const Waiter& waiter, const TaskReport&, std::string& out) {
            out += "to " + static_cast<const ConnectOp&>(waiter).to_.to_string();
        });
        describe_waits(WaitKind::resolve, [](const Waiter& waiter, const TaskReport&, std::string& out) {
            out += static_cast<const Resolve&>(waiter).host_;
        });
        describe_waits(WaitKind::accept, [](const Waiter& waiter, const TaskReport&, std::string& out) {
            out += "Listener " + static_cast<const AcceptOp&>(waiter).listener_->address().to_string();
        });
    }
};

void register_link_reports() noexcept {
    LinkReports::register_all();
}

}  // namespace detail
CHAINRING_END_NAMESPACE
