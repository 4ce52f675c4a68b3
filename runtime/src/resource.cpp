// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/resource.hpp"

#include "runtime/src/worker.hpp"

CHAINRING_BEGIN_NAMESPACE
namespace detail {

Resource::Resource(Worker& home) noexcept : home_(&home), next_(home.live_) {
    if (next_) next_->previous_ = this;
    home.live_ = this;
}

Resource::~Resource() {
    if (!orphaned()) unlink();
}

void Resource::unlink() noexcept {
    Resource*& first = is_retired_ ? home_->retired_ : home_->live_;
    (previous_ ? previous_->next_ : first) = next_;
    if (next_) next_->previous_ = previous_;
    previous_ = nullptr;
}

void Resource::retire() noexcept {
    if (is_retired_) return;
    unlink();
    is_retired_ = true;
    next_ = home_->retired_;
    if (next_) next_->previous_ = this;
    home_->retired_ = this;
}

}  // namespace detail
CHAINRING_END_NAMESPACE
