# SPDX-License-Identifier: BSL-1.0
#
# The installed package: headers (installed by each folder), libchainring.a, the package config
# and the licence.

include(CMakePackageConfigHelpers)

set(CHAINRING_PACKAGE_DIR "${CMAKE_INSTALL_LIBDIR}/cmake/chainring")

install(TARGETS chainring EXPORT chainringTargets ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT chainringTargets NAMESPACE chainring:: DESTINATION "${CHAINRING_PACKAGE_DIR}")

configure_package_config_file(cmake/chainringConfig.cmake.in
    "${PROJECT_BINARY_DIR}/chainringConfig.cmake" INSTALL_DESTINATION "${CHAINRING_PACKAGE_DIR}")
# Before 1.0 each minor version may change the interface.
write_basic_package_version_file("${PROJECT_BINARY_DIR}/chainringConfigVersion.cmake"
    COMPATIBILITY SameMinorVersion)

install(FILES
    "${PROJECT_BINARY_DIR}/chainringConfig.cmake"
    "${PROJECT_BINARY_DIR}/chainringConfigVersion.cmake"
    cmake/FindLiburing.cmake
    DESTINATION "${CHAINRING_PACKAGE_DIR}")
install(FILES "${PROJECT_BINARY_DIR}/include/chainring/config.hpp"
    DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/chainring")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
