// SPDX-License-Identifier: BSL-1.0
// preflight: whether this process and this machine are set up for many connections, to be asked before a server
// starts.
//
// Raises the soft limit of open files (RLIMIT_NOFILE) to what is wanted, as far as the hard limit lets it, and looks at
// the hard limit, fs.nr_open, fs.file-max, net.core.somaxconn and net.ipv4.ip_local_port_range. Yields what does not
// suffice, each with the command that mends it; nothing else is changed, and nothing is printed. What cannot be read
// (a container without /proc/sys) is not judged. On any thread; blocks for a few small reads. Throws std::bad_alloc.
//
//     PreflightOptions wanted;
//     wanted.connections = 20'000;
//     for (const Finding& finding : preflight(wanted)) std::cerr << finding.what << "; " << finding.remedy << "\n";
#pragma once

#include <chainring/config.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

CHAINRING_BEGIN_NAMESPACE

struct PreflightOptions {
    std::size_t connections = 1000;              // open at a time
    std::size_t descriptors_per_connection = 1;  // 2 for what connects onwards for each
    std::size_t other_descriptors = 64;          // workers, listeners, files
    int backlog = 4096;                          // as in ListenOptions; 0: does not listen
    std::size_t outgoing = 0;                    // connections to one address and port at a time
};

struct Finding {
    enum class Limit : std::uint8_t { soft_limit, hard_limit, nr_open, file_max, somaxconn, port_range };
    Limit limit;
    std::uint64_t found = 0;
    std::uint64_t wanted = 0;
    std::string what;    // a clause without a full stop
    std::string remedy;  // a command for a shell
};

// The most severe first; empty: all is well.
std::vector<Finding> preflight(const PreflightOptions& options);

CHAINRING_END_NAMESPACE
