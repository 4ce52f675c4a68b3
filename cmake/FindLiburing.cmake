# SPDX-License-Identifier: BSL-1.0
#
# Finds liburing 2.3 or newer, by pkg-config's hints and then by the usual paths, and defines
# Liburing::liburing. An older one counts as not found. Installed beside the package config.

find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
    pkg_check_modules(PC_LIBURING QUIET liburing)
endif()

find_path(Liburing_INCLUDE_DIR liburing.h HINTS ${PC_LIBURING_INCLUDE_DIRS})
find_library(Liburing_LIBRARY uring HINTS ${PC_LIBURING_LIBRARY_DIRS})
mark_as_advanced(Liburing_INCLUDE_DIR Liburing_LIBRARY)

# liburing's headers carry a version since 2.4 only; io_uring_prep_send_zc came with 2.3.
if(Liburing_INCLUDE_DIR)
    file(STRINGS "${Liburing_INCLUDE_DIR}/liburing.h" Liburing_RECENT
        REGEX "io_uring_prep_send_zc" LIMIT_COUNT 1)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Liburing
    REQUIRED_VARS Liburing_LIBRARY Liburing_INCLUDE_DIR Liburing_RECENT
    REASON_FAILURE_MESSAGE "liburing 2.3 or newer is needed (Debian: apt-get install liburing-dev)")

if(Liburing_FOUND AND NOT TARGET Liburing::liburing)
    add_library(Liburing::liburing UNKNOWN IMPORTED)
    set_target_properties(Liburing::liburing PROPERTIES
        IMPORTED_LOCATION "${Liburing_LIBRARY}"
        INTERFACE_INCLUDE_DIRECTORIES "${Liburing_INCLUDE_DIR}")
endif()
