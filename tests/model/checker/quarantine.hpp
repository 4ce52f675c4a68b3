// SPDX-License-Identifier: BSL-1.0
// What the checker's files know of the build, and the memory that an execution has freed.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MODEL_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define MODEL_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define MODEL_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define MODEL_TSAN 1
#endif
#if defined(MODEL_ASAN) || defined(MODEL_TSAN)
#define MODEL_SANITIZED 1
#endif

namespace model::detail {

void keep_freed(bool keep) noexcept;  // false: gives back what was kept

}  // namespace model::detail
