# SPDX-License-Identifier: BSL-1.0
#
# What both consumers do once chainring::chainring is there.

# A user's warnings are the user's.
get_target_property(options chainring::chainring INTERFACE_COMPILE_OPTIONS)
if(options MATCHES "-W")
    message(FATAL_ERROR "chainring::chainring exports warning flags: ${options}")
endif()
# The developer's targets stay at home.
foreach(target IN ITEMS chainring_unit chainring_headers sample_echo)
    if(TARGET ${target})
        message(FATAL_ERROR "a consumer gets our target ${target}")
    endif()
endforeach()

enable_testing()
foreach(variant IN ITEMS plain mimalloc)
    add_executable(consumer_${variant} "${CMAKE_CURRENT_LIST_DIR}/main.cpp")
    target_link_libraries(consumer_${variant} PRIVATE chainring::chainring)
    add_test(NAME consumer_${variant} COMMAND consumer_${variant})
    set_tests_properties(consumer_${variant} PROPERTIES TIMEOUT 30)
endforeach()
target_link_libraries(consumer_mimalloc PRIVATE $<TARGET_NAME_IF_EXISTS:chainring::mimalloc>)
