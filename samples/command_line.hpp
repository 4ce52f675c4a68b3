// SPDX-License-Identifier: BSL-1.0
// The samples' common command line. Bad values are told in one line (exit 1), wrong flags with the usage (exit 2).
#pragma once

#include <chainring/chainring.hpp>

#include <charconv>
#include <cstdio>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

struct CommandLine {
    CommandLine(const char* program_name, const char* program_purpose) : name(program_name), purpose(program_purpose) {
        runtime.handle_signals = true;
        runtime.log = [](std::string_view) {};  // announce() says which backend it is
    }

    const char* name;
    const char* purpose;
    const char* positional = "";  // usage text of further arguments
    std::size_t positional_count = 0;
    std::string hint;        // how to talk to it; {} is replaced by the address as nc takes it
    std::string extra_help;  // usage text of options of the sample's own
    chainring::RuntimeOptions runtime;
    chainring::ListenOptions listening;
    std::size_t descriptors_per_connection = 1;  // 2 for what connects onwards for each
    std::string listen = "0.0.0.0:7000";
    std::vector<std::string> arguments;  // positional
    std::size_t outbox_limit = std::size_t{1} << 20;
    unsigned long kbits = 0;  // --rate; 0: as fast as it goes
    int exit_code = 0;

    void usage(std::FILE* out) const {
        std::fprintf(
            out,
            "usage: %s [options]%s\n%s\n\n"
            "  --port N          listen on 0.0.0.0:N (default 7000; 0 takes a free one)\n"
            "  --listen ADDRESS  IPV4:PORT, [IPV6]:PORT, :PORT, unix:PATH or unix:@NAME\n"
            "  --threads N       workers (default: one for each CPU)\n"
            "  --backend NAME    uring, epoll or auto (default auto: CHAINRING_BACKEND, else io_uring if it works)\n"
            "  --spread NAME     round-robin, least-loaded, by-peer or reuse-port (default round-robin)\n"
            "  --share-port      let other processes that say so, too, listen on the same port\n"
            "  --spin US         look for work this many microseconds before sleeping, if each worker has a CPU\n"
            "                    (default: 0 with one worker, else as long as it takes to wake one of late: 2 to 50)\n"
            "  --grace SECONDS   how long connections may go on after SIGTERM (default 10)\n"
            "  --max-clients N   serve at most N clients at a time, and tell others: busy (default: any number)\n"
            "  --accepts N       accept at most N connections a second (default: as they come)\n"
            "  --connections N   prepare for N connections at a time: raise the limit of open files as far as it\n"
            "                    goes, and tell on stderr which limits do not suffice, and how to mend them\n"
            "%s"
            "  --help            this text\n",
            name, positional, purpose, extra_help.c_str());
    }

    // False: exit with exit_code.
    bool parse(int argc, char** argv) {
        const std::vector<std::string_view> words(argv + 1, argv + argc);
        for (std::size_t at = 0; at < words.size(); ++at) {
            const std::string_view word = words[at];
            if (word == "--help") {
                usage(stdout);
                return stop(0);
            }
            if (word == "--share-port") {
                listening.share_port = true;
                continue;
            }
            if (word.substr(0, 2) != "--") {
                arguments.emplace_back(word);
                continue;
            }
            if (at + 1 == words.size())
                return wrong_usage("unknown option, or its value is missing: " + std::string(word));
            if (!option(word, words[++at])) return false;
        }
        if (arguments.size() > positional_count) return wrong_usage("too many arguments");
        return true;
    }

    bool wrong_usage(const std::string& what) {
        std::fprintf(stderr, "%s: %s\n", name, what.c_str());
        usage(stderr);
        return stop(2);
    }
    bool bad_value(const std::string& what) {
        std::fprintf(stderr, "%s: %s\n", name, what.c_str());
        return stop(1);
    }

    int cannot_listen(std::error_code error) const {
        std::fprintf(stderr, "%s: cannot listen on %s: %s\n", name, listen.c_str(), error.message().c_str());
        return 1;
    }

    void announce(const chainring::Address& address) const {
        const auto& here = chainring::Runtime::current();
        const std::string_view backend = here.backend_name();
        std::printf("%s: listening on %s (%.*s, %u worker%s)\n", name, address.to_string().c_str(),
                    static_cast<int>(backend.size()), backend.data(), here.workers(), here.workers() == 1 ? "" : "s");
        if (!hint.empty()) std::printf("%s: try  %s\n", name, try_it(address).c_str());
        std::fflush(stdout);
    }

private:
    bool stop(int code) {
        exit_code = code;
        return false;
    }

    bool option(std::string_view flag, std::string_view value) {
        const std::string text(value);
        unsigned long number = 0;
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
        const bool is_number = error == std::errc() && end == value.data() + value.size() && !value.empty();
        if (flag == "--listen") {
            listen = text;
            return true;
        }
        if (flag == "--backend") {
            if (value == "uring")
                runtime.backend = chainring::BackendKind::uring;
            else if (value == "epoll")
                runtime.backend = chainring::BackendKind::epoll;
            else if (value != "auto")
                return bad_value("--backend is uring, epoll or auto, not '" + text + "'");
            return true;
        }
        if (flag == "--spread") {
            if (value == "least-loaded")
                listening.spread = chainring::Spread::least_loaded;
            else if (value == "by-peer")
                listening.spread = chainring::Spread::by_peer;
            else if (value == "reuse-port")
                listening.spread = chainring::Spread::reuse_port;
            else if (value != "round-robin")
                return bad_value("--spread is round-robin, least-loaded, by-peer or reuse-port, not '" + text + "'");
            return true;
        }
        const auto in_range = [&](unsigned long least, unsigned long most) {
            return is_number && number >= least && number <= most;
        };
        if (flag == "--port") {
            if (!in_range(0, 65535)) return bad_value("--port is a number from 0 to 65535, not '" + text + "'");
            listen = "0.0.0.0:" + text;
            return true;
        }
        if (flag == "--threads") {
            if (!in_range(1, 1024)) return bad_value("--threads is a number from 1 to 1024, not '" + text + "'");
            runtime.workers = static_cast<unsigned>(number);
            return true;
        }
        if (flag == "--spin") {
            if (!in_range(0, 1000000))
                return bad_value("--spin is a number of microseconds up to 1000000, not '" + text + "'");
            runtime.spin = std::chrono::microseconds(number);
            return true;
        }
        if (flag == "--grace") {
            if (!in_range(0, 86400)) return bad_value("--grace is a number of seconds up to 86400, not '" + text + "'");
            runtime.stop_grace = std::chrono::seconds(number);
            return true;
        }
        if (flag == "--max-clients") {
            if (!in_range(1, 100000000)) return bad_value("--max-clients is a number of clients, not '" + text + "'");
            listening.max_connections = static_cast<std::uint32_t>(number);
            listening.busy = "busy\n";
            return true;
        }
        if (flag == "--accepts") {
            if (!in_range(1, 100000000))
                return bad_value("--accepts is a number of connections a second, not '" + text + "'");
            listening.accepts_per_second = static_cast<std::uint32_t>(number);
            return true;
        }
        if (flag == "--connections") {
            if (!in_range(1, 100000000))
                return bad_value("--connections is a number of connections, not '" + text + "'");
            prepare_for(number);
            return true;
        }
        if (flag == "--rate" && extra_help.find("--rate") != std::string::npos) {
            if (!in_range(1, 1000000000)) return bad_value("--rate is a number of kbit/s, not '" + text + "'");
            kbits = number;
            return true;
        }
        if (flag == "--outbox" && extra_help.find("--outbox") != std::string::npos) {
            if (!in_range(1, 1UL << 40)) return bad_value("--outbox is a number of bytes, not '" + text + "'");
            outbox_limit = number;
            return true;
        }
        return wrong_usage("unknown option " + std::string(flag));
    }

    void prepare_for(std::size_t connections) const {
        chainring::PreflightOptions wanted;
        wanted.connections = connections;
        wanted.descriptors_per_connection = descriptors_per_connection;
        wanted.backlog = listening.backlog;
        if (descriptors_per_connection > 1) wanted.outgoing = connections;
        for (const chainring::Finding& finding : chainring::preflight(wanted))
            std::fprintf(stderr, "%s: %s; to mend it: %s\n", name, finding.what.c_str(), finding.remedy.c_str());
    }

    // The hint with the address in the form that nc takes.
    std::string try_it(const chainring::Address& address) const {
        std::string target;
        if (address.is_unix()) {
            target = "-U " + (address.is_unix_path() ? std::string(address.unix_path()) : "<abstract>");
        } else {
            std::string host = address.to_string();
            host.resize(host.rfind(':'));
            if (host == "0.0.0.0" || host == "[::]") host = "127.0.0.1";
            if (host.front() == '[') host = host.substr(1, host.size() - 2);
            target = host + " " + std::to_string(address.port());
        }
        std::string line = hint;
        line.replace(line.find("{}"), 2, target);
        return line;
    }
};
