// SPDX-License-Identifier: BSL-1.0
// preflight: what it finds wrong with a machine, what it tells to do, and that it raises what it may raise.
#include "runtime/src/preflight.hpp"

#include <algorithm>
#include <doctest/doctest.h>
#include <sys/resource.h>

using namespace chainring;

namespace {

detail::MachineLimits roomy() {
    detail::MachineLimits limits;
    limits.soft_limit = limits.hard_limit = 1'000'000;
    limits.nr_open = 1'048'576;
    limits.file_max = 9'000'000;
    limits.somaxconn = 4096;
    limits.first_port = 32768;
    limits.last_port = 60999;
    return limits;
}

PreflightOptions wanting(std::size_t connections) {
    PreflightOptions options;
    options.connections = connections;
    return options;
}

// The one finding.
Finding only(const std::vector<Finding>& findings) {
    REQUIRE(findings.size() == 1);
    CHECK(!findings.front().what.empty());
    CHECK(findings.front().what.back() != '.');
    return findings.front();
}

}  // namespace

TEST_CASE("a machine with room for everything gives no finding, nor does one that cannot be read") {
    CHECK(detail::judge(roomy(), wanting(900'000)).empty());
    CHECK(detail::judge(detail::MachineLimits(), wanting(100'000'000)).empty());
}

TEST_CASE("each limit that does not suffice is named, with its numbers and the command that mends it") {
    detail::MachineLimits limits = roomy();
    limits.hard_limit = limits.soft_limit = 4096;
    Finding finding = only(detail::judge(limits, wanting(10'000)));
    CHECK(finding.limit == Finding::Limit::hard_limit);
    CHECK(finding.found == 4096);
    CHECK(finding.wanted == 10'064);
    CHECK(finding.remedy.find("prlimit --nofile=10064:10064") == 0);

    limits = roomy();
    limits.soft_limit = 1024;
    finding = only(detail::judge(limits, wanting(10'000)));
    CHECK(finding.limit == Finding::Limit::soft_limit);
    CHECK(finding.remedy == "ulimit -n 10064");

    limits = roomy();
    limits.somaxconn = 128;
    finding = only(detail::judge(limits, wanting(100)));
    CHECK(finding.limit == Finding::Limit::somaxconn);
    CHECK(finding.remedy == "sysctl -w net.core.somaxconn=4096");
    PreflightOptions no_server = wanting(100);
    no_server.backlog = 0;
    CHECK(detail::judge(limits, no_server).empty());

    limits = roomy();
    limits.file_max = 5000;
    finding = only(detail::judge(limits, wanting(6000)));
    CHECK(finding.limit == Finding::Limit::file_max);
    CHECK(finding.remedy == "sysctl -w fs.file-max=12128");

    PreflightOptions outgoing = wanting(40'000);
    outgoing.outgoing = 40'000;
    finding = only(detail::judge(roomy(), outgoing));
    CHECK(finding.limit == Finding::Limit::port_range);
    CHECK(finding.found == 28'232);
    CHECK(finding.remedy == "sysctl -w net.ipv4.ip_local_port_range=\"1024 65535\"");
}

TEST_CASE("what must be raised first comes first") {
    const auto findings = detail::judge(roomy(), wanting(2'000'000));
    REQUIRE(findings.size() == 2);
    CHECK(findings[0].limit == Finding::Limit::nr_open);
    CHECK(findings[1].limit == Finding::Limit::hard_limit);
}

TEST_CASE("the soft limit is raised to what is wanted, at most to the hard one, and never lowered") {
    rlimit before{};
    getrlimit(RLIMIT_NOFILE, &before);
    rlimit low = before;
    low.rlim_cur = 200;
    setrlimit(RLIMIT_NOFILE, &low);
    const auto soft = [] {
        rlimit now{};
        getrlimit(RLIMIT_NOFILE, &now);
        return now.rlim_cur;
    };
    CHECK(preflight(wanting(10)).empty());
    CHECK(soft() == 200);
    const auto findings = preflight(wanting(300));
    CHECK(soft() == 364);
    CHECK(std::none_of(findings.begin(), findings.end(), [](const Finding& finding) {
        return finding.limit == Finding::Limit::soft_limit || finding.limit == Finding::Limit::hard_limit;
    }));
    if (before.rlim_max != RLIM_INFINITY) {
        const auto too_many = preflight(wanting(before.rlim_max + 1));
        CHECK(soft() == before.rlim_max);
        CHECK(std::any_of(too_many.begin(), too_many.end(),
                          [](const Finding& finding) { return finding.limit == Finding::Limit::hard_limit; }));
    }
    setrlimit(RLIMIT_NOFILE, &before);
}
