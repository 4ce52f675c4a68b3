// SPDX-License-Identifier: BSL-1.0
//
// What the echo servers written with other libraries share: the command line, and as many loops as threads. A loop is
// what one thread runs: it has its own listener on the port (SO_REUSEPORT, where there is more than one) and all the
// connections that come by it, so that nothing is shared and nothing is locked.
#pragma once

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>
#include <thread>
#include <vector>

namespace peer {

constexpr std::size_t buffer_bytes = 16384;
constexpr int backlog = 4096;

struct Options {
    unsigned short port = 7000;
    unsigned threads = 1;
    bool plain = false;  // libevent only: events instead of bufferevents
};

inline Options parse(int argc, char** argv) {
    Options options;
    for (int at = 1; at < argc; ++at) {
        const std::string_view word = argv[at];
        const bool has_value = at + 1 < argc;
        if (word == "--port" && has_value) {
            options.port = static_cast<unsigned short>(std::atoi(argv[++at]));
        } else if (word == "--threads" && has_value) {
            options.threads = static_cast<unsigned>(std::atoi(argv[++at]));
        } else if (word == "--plain") {
            options.plain = true;
        } else {
            std::fprintf(stderr, "usage: %s [--port N] [--threads N]\n", argv[0]);
            std::exit(2);
        }
    }
    if (options.threads == 0) options.threads = 1;
    return options;
}

[[noreturn]] inline void fail(const char* what, const char* why) {
    std::fprintf(stderr, "echo: %s: %s\n", what, why);
    std::exit(1);
}

/// Makes all loops, so that every listener is there when the ready line is, and runs each on a thread of its own.
/// `Loop(const Options&)` listens; `run()` serves for ever.
template <class Loop>
int serve(const Options& options, const char* library) {
    std::signal(SIGPIPE, SIG_IGN);
    std::vector<std::unique_ptr<Loop>> loops;
    for (unsigned i = 0; i < options.threads; ++i) loops.push_back(std::make_unique<Loop>(options));
    std::printf("echo: listening on 127.0.0.1:%u (%s, %u worker%s)\n", options.port, library, options.threads,
                options.threads == 1 ? "" : "s");
    std::fflush(stdout);
    std::vector<std::jthread> threads;
    for (unsigned i = 1; i < options.threads; ++i) threads.emplace_back([&loop = *loops[i]] { loop.run(); });
    loops.front()->run();
    return 0;
}

}  // namespace peer
