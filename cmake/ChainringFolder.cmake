# SPDX-License-Identifier: BSL-1.0
#
# The library's targets:
#   chainring          the static library that users link, alias chainring::chainring
#   chainring_<name>   one folder's objects; sees its own public headers and those in DEPENDS
#   chainring_private  for our tests: the private headers of every folder
#   chainring_headers  compiles each public header alone (when tests are built)
# A private header is included by its path from the root, "runtime/src/inbox.hpp", which shows whose
# it is; tests/layering checks that no folder reaches up.

include(ChainringOptions)

add_library(chainring STATIC)
add_library(chainring::chainring ALIAS chainring)
set_target_properties(chainring PROPERTIES LINKER_LANGUAGE CXX)
target_compile_features(chainring PUBLIC cxx_std_20)
target_compile_options(chainring INTERFACE ${CHAINRING_SANITIZE_COMPILE_OPTIONS})
target_link_options(chainring INTERFACE ${CHAINRING_SANITIZE_LINK_OPTIONS})
target_include_directories(chainring PUBLIC
    "$<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include>"
    "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
target_link_libraries(chainring PUBLIC Threads::Threads)

add_library(chainring_private INTERFACE)
target_include_directories(chainring_private INTERFACE "${PROJECT_SOURCE_DIR}")
target_link_libraries(chainring_private INTERFACE chainring_options)

if(CHAINRING_HAS_URING)
    target_link_libraries(chainring PRIVATE Liburing::liburing)
    target_link_libraries(chainring_private INTERFACE Liburing::liburing)
endif()

if(CHAINRING_BUILD_TESTS)
    add_custom_target(chainring_headers)
endif()

# chainring_folder(<name> [SOURCES <file>...] [URING_SOURCES <file>...] [EPOLL_ONLY_SOURCES <file>...]
#                  [DEPENDS <folder>...])
#
# Declares the folder that calls it: include/ is public, src/ private. Files are relative to src/;
# URING_SOURCES are compiled when liburing is there, EPOLL_ONLY_SOURCES when it is not. A folder without sources is header-only.
# DEPENDS names every folder below it.
function(chainring_folder name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;URING_SOURCES;EPOLL_ONLY_SOURCES;DEPENDS")
    if(arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "chainring_folder(${name}): unexpected ${arg_UNPARSED_ARGUMENTS}")
    endif()

    # The public side, which is all that the header check sees.
    set(target chainring_${name})
    set(public ${target}_public)
    add_library(${public} INTERFACE)
    target_compile_features(${public} INTERFACE cxx_std_20)
    target_include_directories(${public} INTERFACE
        "${CMAKE_CURRENT_SOURCE_DIR}/include" "${PROJECT_BINARY_DIR}/include")
    foreach(folder IN LISTS arg_DEPENDS)
        target_link_libraries(${public} INTERFACE chainring_${folder}_public)
    endforeach()
    target_include_directories(chainring PUBLIC
        "$<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include>")

    # The objects.
    set(sources ${arg_SOURCES})
    if(CHAINRING_HAS_URING)
        list(APPEND sources ${arg_URING_SOURCES})
    else()
        list(APPEND sources ${arg_EPOLL_ONLY_SOURCES})
    endif()
    if(sources)
        list(TRANSFORM sources PREPEND src/)
        add_library(${target} OBJECT ${sources})
        set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
        target_link_libraries(${target} PRIVATE ${public} chainring_options Threads::Threads)
        target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}")
        if(CHAINRING_HAS_URING)
            target_link_libraries(${target} PRIVATE Liburing::liburing)
        endif()
        target_sources(chainring PRIVATE $<TARGET_OBJECTS:${target}>)
        if(CHAINRING_PRECOMPILE)
            # Of the standard library alone, so that a change of a header of ours compiles no more than it did.
            target_precompile_headers(${target} PRIVATE
                <algorithm> <array> <atomic> <bit> <cerrno> <charconv> <chrono> <condition_variable> <coroutine> <cstdio>
                <cstdlib> <cstring> <deque> <functional> <map> <memory> <mutex> <new> <optional> <span> <stdexcept>
                <string> <string_view> <system_error> <thread> <unordered_map> <utility> <variant> <vector>)
        endif()
    endif()

    if(CHAINRING_INSTALL)
        install(DIRECTORY include/ DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
            FILES_MATCHING PATTERN "*.hpp")
    endif()
    if(CHAINRING_BUILD_TESTS)
        chainring_check_headers(${name})
    endif()
endfunction()

# One source per public header, which includes it twice and nothing else. A glob on purpose: a
# header that no list mentions is checked too.
function(chainring_check_headers name)
    set(root "${CMAKE_CURRENT_SOURCE_DIR}/include")
    file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE "${root}" "${root}/chainring/*.hpp")
    set(sources)
    foreach(header IN LISTS headers)
        set(source "${CMAKE_CURRENT_BINARY_DIR}/headers/${header}.cpp")
        file(CONFIGURE OUTPUT "${source}" CONTENT "#include <${header}>\n#include <${header}>\n")
        list(APPEND sources "${source}")
    endforeach()
    if(sources)
        set(target chainring_headers_${name})
        add_library(${target} OBJECT ${sources})
        set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF)
        target_link_libraries(${target} PRIVATE chainring_${name}_public chainring_options)
        target_compile_options(${target} PRIVATE -O0)
        add_dependencies(chainring_headers ${target})
    endif()
endfunction()
