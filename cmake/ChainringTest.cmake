# SPDX-License-Identifier: BSL-1.0
#
# chainring_test(<name> SOURCES <file>... [BACKENDS [MEASURES] [SEEDS <count> [SEEDED <file>...]]] [LABELS <label>...]
#                [TIMEOUT <seconds>] [LIBRARIES <target>...] [ARGS <argument>...])
#
# One doctest program, built from SOURCES, and its entry in ctest. It may include private headers, by
# their path from the root ("runtime/src/inbox.hpp").
# With BACKENDS the program is registered once per backend, as <name>.uring, <name>.epoll and <name>.sim (a kind
# simulated world), with CHAINRING_BACKEND set; a program that cannot have that backend here exits with 77, which ctest
# reports as skipped. With SEEDS the test cases of SEEDED, or all, run in that many more simulated worlds, which are
# shuffled and misbehave: <name>.seed1, <name>.seed2, ..., whose further label is sim. LABELS default to the name of
# the calling folder (unit, stress, ...). The target tests_<folder> builds its programs, and no others.
#
# ctest may run tests beside each other. MEASURES: what the program does on a real backend depends on time, memory or
# the kernel's counts, so that it has the machine for itself there.
#
# A program with the LIBRARY chainring_unit_main uses that one's precompiled header.

set(CHAINRING_TEST_BACKENDS uring epoll sim)

find_package(doctest QUIET)
if(NOT doctest_FOUND)
    message(FATAL_ERROR "chainring: the tests need doctest (Debian: apt-get install doctest-dev); "
        "configure with -DCHAINRING_BUILD_TESTS=OFF to do without them")
endif()

function(chainring_test name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "BACKENDS;MEASURES" "TIMEOUT;SEEDS" "SOURCES;LABELS;LIBRARIES;ARGS;SEEDED")
    if(arg_UNPARSED_ARGUMENTS OR NOT arg_SOURCES)
        message(FATAL_ERROR "chainring_test(${name}): no SOURCES, or unexpected "
            "'${arg_UNPARSED_ARGUMENTS}'")
    endif()
    if(NOT arg_TIMEOUT)
        set(arg_TIMEOUT 120)
    endif()
    if(NOT arg_LABELS)
        cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME arg_LABELS)
    endif()

    add_executable(${name} ${arg_SOURCES})
    set_target_properties(${name} PROPERTIES CXX_EXTENSIONS OFF)
    target_link_libraries(${name} PRIVATE
        chainring::chainring chainring_private doctest::doctest ${arg_LIBRARIES})

    cmake_path(GET CMAKE_CURRENT_SOURCE_DIR FILENAME folder)
    if(NOT TARGET tests_${folder})
        add_custom_target(tests_${folder})
    endif()
    add_dependencies(tests_${folder} ${name})
    if(CHAINRING_PRECOMPILE AND chainring_unit_main IN_LIST arg_LIBRARIES)
        target_precompile_headers(${name} REUSE_FROM chainring_unit_main)
    endif()

    if(arg_BACKENDS)
        foreach(backend IN LISTS CHAINRING_TEST_BACKENDS)
            add_test(NAME ${name}.${backend} COMMAND ${name} ${arg_ARGS})
            set_tests_properties(${name}.${backend} PROPERTIES
                ENVIRONMENT CHAINRING_BACKEND=${backend}
                SKIP_RETURN_CODE 77
                TIMEOUT ${arg_TIMEOUT}
                LABELS "${arg_LABELS}")
            if(arg_MEASURES AND NOT backend STREQUAL "sim")
                set_tests_properties(${name}.${backend} PROPERTIES RUN_SERIAL TRUE)
            endif()
        endforeach()
        if(arg_SEEDS)
            set(filter "")
            if(arg_SEEDED)
                list(TRANSFORM arg_SEEDED PREPEND "*/" OUTPUT_VARIABLE files)
                list(JOIN files "," files)
                set(filter "--source-file=${files}")
            endif()
            foreach(seed RANGE 1 ${arg_SEEDS})
                add_test(NAME ${name}.seed${seed} COMMAND ${name} ${filter} ${arg_ARGS})
                set_tests_properties(${name}.seed${seed} PROPERTIES
                    ENVIRONMENT "CHAINRING_BACKEND=sim;CHAINRING_SEED=${seed};CHAINRING_ROUNDS=40"
                    SKIP_RETURN_CODE 77
                    TIMEOUT ${arg_TIMEOUT}
                    LABELS "${arg_LABELS};sim")
            endforeach()
        endif()
    else()
        add_test(NAME ${name} COMMAND ${name} ${arg_ARGS})
        set_tests_properties(${name} PROPERTIES
            SKIP_RETURN_CODE 77 TIMEOUT ${arg_TIMEOUT} LABELS "${arg_LABELS}")
    endif()
endfunction()

# chainring_docs_header(<target> <page> <header>)
#
# The block of the page in docs/ that begins with "// <header>", as a header of that name, for the target to include:
# what the documentation shows is what is tested.
function(chainring_docs_header target page header)
    file(READ "${PROJECT_SOURCE_DIR}/docs/${page}" text)
    set(opening "```cpp\n// ${header}\n")
    string(FIND "${text}" "${opening}" begin)
    if(begin EQUAL -1)
        message(FATAL_ERROR "chainring_docs_header: docs/${page} has no block that begins with // ${header}")
    endif()
    string(LENGTH "${opening}" length)
    math(EXPR begin "${begin} + ${length}")
    string(SUBSTRING "${text}" ${begin} -1 rest)
    string(FIND "${rest}" "```" end)
    string(SUBSTRING "${rest}" 0 ${end} block)
    set(folder "${CMAKE_CURRENT_BINARY_DIR}/docs_headers")
    file(CONFIGURE OUTPUT "${folder}/${header}" CONTENT "#pragma once\n${block}" @ONLY)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/docs/${page}")
    target_include_directories(${target} PRIVATE "${folder}")
endfunction()
