// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/preflight.hpp"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sys/resource.h>
#include <utility>

CHAINRING_BEGIN_NAMESPACE
namespace detail {

namespace {

std::string told(std::uint64_t number) {
    return std::to_string(number);
}

Finding found(Finding::Limit limit, std::uint64_t is, std::uint64_t wanted, std::string what, std::string remedy) {
    Finding finding;
    finding.limit = limit;
    finding.found = is;
    finding.wanted = wanted;
    finding.what = std::move(what);
    finding.remedy = std::move(remedy);
    return finding;
}

std::string sysctl(const char* name, const std::string& value) {
    return std::string("sysctl -w ") + name + "=" + value;
}

std::uint64_t number_of(rlim_t value) noexcept {
    return value == RLIM_INFINITY ? std::numeric_limits<std::uint64_t>::max() : value;
}

// The soft limit goes up to `wanted`, never down; the numbers are what then holds.
void raise_soft_limit(std::uint64_t wanted, MachineLimits& limits) noexcept {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return;
    if (number_of(files.rlim_cur) < wanted && files.rlim_cur < files.rlim_max) {
        rlimit more = files;
        more.rlim_cur = std::min<rlim_t>(wanted, files.rlim_max);
        if (::setrlimit(RLIMIT_NOFILE, &more) == 0) files = more;
    }
    limits.soft_limit = number_of(files.rlim_cur);
    limits.hard_limit = number_of(files.rlim_max);
}

// One or two numbers.
void read_numbers(const char* path, std::optional<std::uint64_t>& first, std::optional<std::uint64_t>* second) {
    std::ifstream file(path);
    std::uint64_t number = 0;
    if (file >> number) first = number;
    if (second && file >> number) *second = number;
}

}  // namespace

std::uint64_t descriptors_wanted(const PreflightOptions& options) noexcept {
    return std::uint64_t{options.connections} * options.descriptors_per_connection + options.other_descriptors;
}

std::vector<Finding> judge(const MachineLimits& limits, const PreflightOptions& options) {
    using Limit = Finding::Limit;
    std::vector<Finding> findings;
    const std::uint64_t wanted = descriptors_wanted(options);
    if (limits.nr_open && *limits.nr_open < wanted)
        findings.push_back(found(Limit::nr_open, *limits.nr_open, wanted,
                                 "no process may have more than " + told(*limits.nr_open) +
                                     " open files (fs.nr_open), " + told(wanted) + " are wanted",
                                 sysctl("fs.nr_open", told(wanted))));
    if (limits.hard_limit < wanted)
        findings.push_back(found(Limit::hard_limit, limits.hard_limit, wanted,
                                 "this process may open at most " + told(limits.hard_limit) +
                                     " files (the hard limit of RLIMIT_NOFILE), " + told(wanted) + " are wanted",
                                 "prlimit --nofile=" + told(wanted) + ":" + told(wanted) +
                                     " COMMAND  (as root; or LimitNOFILE=" + told(wanted) + " in the systemd unit)"));
    else if (limits.soft_limit < wanted)
        findings.push_back(found(Limit::soft_limit, limits.soft_limit, wanted,
                                 "this process may open " + told(limits.soft_limit) +
                                     " files, and raising that (RLIMIT_NOFILE) was refused; " + told(wanted) +
                                     " are wanted",
                                 "ulimit -n " + told(wanted)));
    if (limits.file_max && *limits.file_max < wanted)
        findings.push_back(found(Limit::file_max, *limits.file_max, wanted,
                                 "all processes together may open " + told(*limits.file_max) +
                                     " files (fs.file-max), " + told(wanted) + " are wanted by this one",
                                 sysctl("fs.file-max", told(wanted * 2))));
    const auto backlog = static_cast<std::uint64_t>(std::max(options.backlog, 0));
    if (limits.somaxconn && *limits.somaxconn < backlog)
        findings.push_back(found(Limit::somaxconn, *limits.somaxconn, backlog,
                                 "the kernel cuts the backlog of " + told(backlog) + " to " + told(*limits.somaxconn) +
                                     " (net.core.somaxconn): in a burst clients wait for a second or more",
                                 sysctl("net.core.somaxconn", told(backlog))));
    if (limits.first_port && limits.last_port && *limits.last_port >= *limits.first_port) {
        const std::uint64_t ports = *limits.last_port - *limits.first_port + 1;
        if (ports < options.outgoing)
            findings.push_back(found(Limit::port_range, ports, options.outgoing,
                                     told(ports) + " local ports are there for connections to one address" +
                                         " (net.ipv4.ip_local_port_range), " + told(options.outgoing) + " are wanted",
                                     sysctl("net.ipv4.ip_local_port_range", "\"1024 65535\"")));
    }
    return findings;
}

}  // namespace detail

std::vector<Finding> preflight(const PreflightOptions& options) {
    detail::MachineLimits limits;
    detail::raise_soft_limit(detail::descriptors_wanted(options), limits);
    detail::read_numbers("/proc/sys/fs/nr_open", limits.nr_open, nullptr);
    detail::read_numbers("/proc/sys/fs/file-max", limits.file_max, nullptr);
    detail::read_numbers("/proc/sys/net/core/somaxconn", limits.somaxconn, nullptr);
    detail::read_numbers("/proc/sys/net/ipv4/ip_local_port_range", limits.first_port, &limits.last_port);
    return detail::judge(limits, options);
}

CHAINRING_END_NAMESPACE
