// SPDX-License-Identifier: BSL-1.0
#include "tests/model/checker/fiber.hpp"

#include "tests/model/checker/quarantine.hpp"

#ifdef MODEL_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef MODEL_TSAN
#include <sanitizer/tsan_interface.h>
#endif

namespace model::detail {

namespace {
// Who is being left and who entered, while a switch is under way. There is one thread.
Fiber* leaving = nullptr;
Fiber* entering = nullptr;
}  // namespace

Fiber::Fiber() noexcept {
#ifdef MODEL_TSAN
    tsan_ = __tsan_get_current_fiber();
#endif
}

Fiber::Fiber(void (*entry)())
    : stack_(new std::byte[stack_size]), entry_(entry), bottom_(stack_.get()), size_(stack_size) {
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = stack_size;
    context_.uc_link = nullptr;
    makecontext(&context_, start, 0);
#ifdef MODEL_TSAN
    tsan_ = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#ifdef MODEL_TSAN
    if (stack_) __tsan_destroy_fiber(tsan_);
#endif
}

void Fiber::start() noexcept {
    arrived();
    entering->entry_();
}

void Fiber::arrived() noexcept {
#ifdef MODEL_ASAN
    // Tells where the stack is that was left: needed once, for the explorer's.
    __sanitizer_finish_switch_fiber(entering->fake_stack_, &leaving->bottom_, &leaving->size_);
#endif
}

void Fiber::change(Fiber& from, Fiber& to) noexcept {
    leaving = &from;
    entering = &to;
#ifdef MODEL_ASAN
    __sanitizer_start_switch_fiber(&from.fake_stack_, to.bottom_, to.size_);
#endif
#ifdef MODEL_TSAN
    __tsan_switch_to_fiber(to.tsan_, 0);
#endif
    swapcontext(&from.context_, &to.context_);
    arrived();
}

}  // namespace model::detail
