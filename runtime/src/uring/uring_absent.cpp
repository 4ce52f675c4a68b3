// SPDX-License-Identifier: BSL-1.0
// Takes the place of uring/ in a library that was built without liburing.
#include "runtime/src/backend.hpp"

#include <cerrno>
#include <system_error>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

std::unique_ptr<Backend> make_uring_backend(const BackendOptions&) {
    throw std::system_error(ENOSYS, std::system_category(), "chainring: built without liburing");
}

}  // namespace detail
CHAINRING_END_NAMESPACE
