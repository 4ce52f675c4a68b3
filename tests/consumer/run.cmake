# SPDX-License-Identifier: BSL-1.0
#
# Builds and runs one consumer project from an empty directory, as a user would. MODE find_package
# installs the finished build first, and makes sure that the consumer finds that copy.

function(run)
    execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT COMMAND_ERROR_IS_FATAL ANY)
endfunction()

file(REMOVE_RECURSE "${WORK_DIR}")

if(MODE STREQUAL "find_package")
    run("${CMAKE_COMMAND}" --install "${BINARY_DIR}" --prefix "${WORK_DIR}/prefix" --config "${BUILD_TYPE}")
    if(NOT EXISTS "${WORK_DIR}/prefix/include/chainring/config.hpp")
        message(FATAL_ERROR "config.hpp was not installed")
    endif()
    set(where "-DCMAKE_PREFIX_PATH=${WORK_DIR}/prefix" "-DEXPECTED_PREFIX=${WORK_DIR}/prefix")
else()
    set(where "-DCHAINRING_SOURCE_DIR=${SOURCE_DIR}")
endif()

run("${CMAKE_COMMAND}" -S "${SOURCE_DIR}/tests/consumer/${MODE}" -B "${WORK_DIR}/build"
    -G "${GENERATOR}"
    "-DCMAKE_CXX_COMPILER=${CXX_COMPILER}"
    "-DCMAKE_CXX_FLAGS=${CXX_FLAGS}"
    "-DCMAKE_BUILD_TYPE=${BUILD_TYPE}"
    ${where} ${OPTIONS})
run("${CMAKE_COMMAND}" --build "${WORK_DIR}/build" --config "${BUILD_TYPE}")
run("${CMAKE_CTEST_COMMAND}" --test-dir "${WORK_DIR}/build" -C "${BUILD_TYPE}"
    --output-on-failure --no-tests=error)
