// SPDX-License-Identifier: BSL-1.0
// Entry of the unit test programs. CHAINRING_BACKEND chooses the backend of every test; where io_uring is asked for and
// the kernel refuses it, the run is skipped (exit 77).
#define DOCTEST_CONFIG_IMPLEMENT
#include "tests/unit/support.hpp"

#include <cstdio>
#include <doctest/doctest.h>  // its implementation: what was precompiled is the rest
#include <system_error>

int main(int argc, char** argv) {
    if (support::wanted_backend() == "io_uring") {
        try {
            chainring::RuntimeOptions options;
            options.workers = 1;
            options.backend = chainring::BackendKind::uring;
            const chainring::Runtime probe(options);
        } catch (const std::system_error& error) {
            std::printf("skipped: %s\n", error.what());
            return 77;
        }
    }
    doctest::Context context(argc, argv);
    return context.run();
}
