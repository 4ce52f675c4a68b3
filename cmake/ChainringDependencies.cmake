# SPDX-License-Identifier: BSL-1.0
#
# What chainring stands on: threads (always), liburing (for the io_uring backend) and mimalloc
# (for programs that ask for it). Sets CHAINRING_HAS_URING; defines chainring::mimalloc.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)

set(CHAINRING_HAS_URING OFF)
if(CHAINRING_URING STREQUAL "AUTO")
    find_package(Liburing QUIET)
    if(Liburing_FOUND)
        set(CHAINRING_HAS_URING ON)
    else()
        message(STATUS "chainring: liburing 2.3 or newer not found: building with epoll only "
            "(Debian: apt-get install liburing-dev)")
    endif()
elseif(CHAINRING_URING)
    find_package(Liburing REQUIRED)
    set(CHAINRING_HAS_URING ON)
else()
    message(STATUS "chainring: CHAINRING_URING is OFF: building with epoll only")
endif()

# Linking mimalloc replaces malloc for the whole program, so that is the program's choice and never
# the library's. A sanitizer needs its own malloc: there the target is empty.
if(CHAINRING_SANITIZE)
    add_library(chainring_mimalloc INTERFACE)
    add_library(chainring::mimalloc ALIAS chainring_mimalloc)
else()
    find_package(mimalloc QUIET)
    if(mimalloc_FOUND)
        add_library(chainring_mimalloc INTERFACE)
        add_library(chainring::mimalloc ALIAS chainring_mimalloc)
        target_link_libraries(chainring_mimalloc INTERFACE mimalloc)
    else()
        message(STATUS "chainring: mimalloc not found: samples and benchmarks use the C library's "
            "malloc (Debian: apt-get install libmimalloc-dev)")
    endif()
endif()
