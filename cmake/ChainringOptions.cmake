# SPDX-License-Identifier: BSL-1.0
#
# chainring_options: how our own sources, tests and samples are compiled. Linked privately, never
# exported: a user's program gets none of these warnings.

add_library(chainring_options INTERFACE)
target_compile_options(chainring_options INTERFACE
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
    -Wold-style-cast -Wcast-qual -Woverloaded-virtual
    # GCC's own -Wnull-dereference follows inlined paths of the standard library and is often wrong.
    $<$<CXX_COMPILER_ID:Clang>:-Wnull-dereference>
    # GCC 12 sees an overlap in each "text" + std::string (GCC bug 105651).
    $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>
    $<$<BOOL:${CHAINRING_WERROR}>:-Werror>
    # Symmetric transfer between coroutines is a tail call only with this; -O0 leaves it off.
    $<$<AND:$<CXX_COMPILER_ID:GNU>,$<CONFIG:Debug>>:-foptimize-sibling-calls>)

# A sanitized library needs a sanitized program, so that these do go to whoever links it.
set(CHAINRING_SANITIZE_COMPILE_OPTIONS "")
set(CHAINRING_SANITIZE_LINK_OPTIONS "")
if(CHAINRING_SANITIZE)
    # Recycled coroutine frames would hide a use after free from the sanitizer.
    target_compile_definitions(chainring_options INTERFACE CHAINRING_NO_RECYCLING=1)
    set(CHAINRING_SANITIZE_LINK_OPTIONS "-fsanitize=${CHAINRING_SANITIZE}")
    set(CHAINRING_SANITIZE_COMPILE_OPTIONS ${CHAINRING_SANITIZE_LINK_OPTIONS}
        -fno-sanitize-recover=all -fno-omit-frame-pointer)
    # The vptr check probes memory through a pipe, and takes every object for a bad one when descriptors have run out,
    # as they do in tests.
    if(CHAINRING_SANITIZE MATCHES undefined)
        list(APPEND CHAINRING_SANITIZE_COMPILE_OPTIONS -fno-sanitize=vptr)
    endif()
endif()
target_compile_options(chainring_options INTERFACE ${CHAINRING_SANITIZE_COMPILE_OPTIONS})
target_link_options(chainring_options INTERFACE ${CHAINRING_SANITIZE_LINK_OPTIONS})
