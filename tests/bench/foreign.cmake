# SPDX-License-Identifier: BSL-1.0
#
# Programs in Go and Rust, from Debian's packages and without a network. Sets GO_COMMAND and TOKIO_FOUND. Each is built
# by the target bench_<name> only, in the binary folder of who asks.

set(_crates /usr/share/cargo/registry) # where Debian's librust-*-dev packages put them; cargo needs no network then

find_program(GO_COMMAND go HINTS /usr/bin)
# Debian's own first: its compiler fits its crates.
find_program(CARGO_COMMAND cargo HINTS /usr/bin)
find_program(RUSTC_COMMAND rustc HINTS /usr/bin)
mark_as_advanced(GO_COMMAND CARGO_COMMAND RUSTC_COMMAND)
file(GLOB _tokio_crate "${_crates}/tokio-[0-9]*")
set(TOKIO_FOUND OFF)
if(CARGO_COMMAND AND RUSTC_COMMAND AND _tokio_crate)
    set(TOKIO_FOUND ON)
endif()

# _foreign_program(<name> SOURCES <file>... STEPS COMMAND <command>...)
function(_foreign_program name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" "" "SOURCES;STEPS")
    set(program "${CMAKE_CURRENT_BINARY_DIR}/${name}")
    add_custom_command(OUTPUT "${program}" ${arg_STEPS}
        DEPENDS ${arg_SOURCES}
        WORKING_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}"
        COMMENT "Building ${name}"
        VERBATIM)
    add_custom_target(bench_${name} DEPENDS "${program}")
endfunction()

# go_program(<name> <source>)
function(go_program name source)
    set(source "${CMAKE_CURRENT_SOURCE_DIR}/${source}")
    _foreign_program(${name}
        SOURCES "${source}"
        STEPS COMMAND "${CMAKE_COMMAND}" -E env
            "GO111MODULE=off" "GOCACHE=${CMAKE_CURRENT_BINARY_DIR}/go_cache" "${GO_COMMAND}" build -o ${name} "${source}")
endfunction()

# tokio_program(<name>): of tokio/Cargo.toml and tokio/main.rs, with a binary of that name.
function(tokio_program name)
    set(sources "${CMAKE_CURRENT_SOURCE_DIR}/tokio/Cargo.toml" "${CMAKE_CURRENT_SOURCE_DIR}/tokio/main.rs")
    _foreign_program(${name}
        SOURCES ${sources}
        # cargo writes its lock file beside Cargo.toml: not into the source tree.
        STEPS COMMAND "${CMAKE_COMMAND}" -E make_directory tokio
            COMMAND "${CMAKE_COMMAND}" -E copy ${sources} tokio
            COMMAND "${CMAKE_COMMAND}" -E env "RUSTC=${RUSTC_COMMAND}" "CARGO_HOME=${CMAKE_CURRENT_BINARY_DIR}/cargo"
                "${CARGO_COMMAND}" build --quiet --release --offline --manifest-path tokio/Cargo.toml
                --config "source.crates-io.replace-with='debian'"
                --config "source.debian.directory='${_crates}'"
            COMMAND "${CMAKE_COMMAND}" -E copy tokio/target/release/${name} .)
endfunction()
