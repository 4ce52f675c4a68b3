// SPDX-License-Identifier: BSL-1.0
// Plays the samples in simulated worlds, one for each seed, and tells the sums.
//
//   chainring_seeds [--seeds N] [--first SEED] [--jobs N] [--sample echo|chat|relay]
//   chainring_seeds --sample NAME --seed SEED [--trace]     one alone; its trace, a line for each event
//   chainring_seeds --hashes                                the table of tests/sim/hashes.inc, newly made
//
// Each job is a process: a world that dies takes only its job with it, and the seed is told all the same.
#include "tests/sim/plays.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vector>

using namespace chainring;

namespace {

struct Wish {
    std::uint64_t seeds = 10'000;
    std::uint64_t first = 1;
    unsigned jobs = 2;
    std::string sample;  // empty: all
    bool one = false;
    bool trace = false;
    bool hashes = false;
};

// What a job tells the process that started it.
struct Job {
    Figures figures;
    std::uint64_t seed = 0;  // being played
    bool over = false;
};

const char* program = "chainring_seeds";

int usage() {
    std::fputs(
        "usage: chainring_seeds [--seeds N] [--first SEED] [--jobs N] [--sample echo|chat|relay]\n"
        "       chainring_seeds --sample NAME --seed SEED [--trace]\n"
        "       chainring_seeds --hashes\n",
        stderr);
    return 2;
}

void tell_failure(const Play& play, std::uint64_t seed, const char* what) {
    const std::string name(play.name);
    std::fprintf(stderr, "%s, seed %llu: %s\n  to replay it: %s --sample %s --seed %llu --trace\n", name.c_str(),
                 static_cast<unsigned long long>(seed), what, program, name.c_str(),
                 static_cast<unsigned long long>(seed));
}

bool play_seed(const Play& play, std::uint64_t seed, bool trace, Figures& sums) {
    sim::WorldOptions options;
    options.keep_trace = trace;
    sim::World world(seed, options);
    bool fine = true;
    try {
        sums += play.perform(world, Scale());
    } catch (const std::exception& failure) {
        fine = false;
        if (trace) world.print_trace(std::cout);
        tell_failure(play, seed, failure.what());
        return false;
    }
    if (trace) world.print_trace(std::cout);
    return fine;
}

// Seeds wish.first + index, + jobs ...
int run_job(const Play& play, const Wish& wish, unsigned index, Job& job) {
    int failures = 0;
    for (std::uint64_t at = index; at < wish.seeds; at += wish.jobs) {
        job.seed = wish.first + at;
        if (!play_seed(play, job.seed, false, job.figures) && ++failures == 5) break;
    }
    job.over = true;
    return failures == 0 ? 0 : 1;
}

double cpu_seconds() {
    double seconds = 0;
    for (const int who : {RUSAGE_SELF, RUSAGE_CHILDREN}) {
        rusage used{};
        ::getrusage(who, &used);
        for (const timeval& time : {used.ru_utime, used.ru_stime})
            seconds += static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
    }
    return seconds;
}

void print_sums(std::string_view name, const Figures& sums, double wall, double cpu) {
    const double simulated = std::chrono::duration<double>(sums.virtual_time).count();
    const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
    std::printf(
        "%-6.*s %8llu runs %9llu Links (%llu connections ended in order) %9llu messages %8llu faults\n"
        "       %8.1f MB %11llu segments %10llu waits %11llu events\n"
        "       %10.0f s of virtual time in %.1f s, %.1f s of CPU: %.0f times as fast\n",
        static_cast<int>(name.size()), name.data(), number(sums.runs), number(sums.links), number(sums.orderly),
        number(sums.messages), number(sums.faults), static_cast<double>(sums.bytes) / 1e6, number(sums.segments),
        number(sums.waits), number(sums.events), simulated, wall, cpu, simulated / wall);
    std::fflush(stdout);
}

bool run_jobs(const Play& play, const Wish& wish, Figures& sums) {
    void* const memory =
        ::mmap(nullptr, wish.jobs * sizeof(Job), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    Job* const jobs = new (memory) Job[wish.jobs];
    std::vector<pid_t> processes;
    for (unsigned index = 0; index < wish.jobs; ++index) {
        const pid_t process = ::fork();
        if (process == 0) {
            const int code = run_job(play, wish, index, jobs[index]);
            std::fflush(nullptr);
            ::_exit(code);
        }
        processes.push_back(process);
    }
    bool fine = true;
    for (unsigned index = 0; index < wish.jobs; ++index) {
        int status = 0;
        ::waitpid(processes[index], &status, 0);
        if (!jobs[index].over) tell_failure(play, jobs[index].seed, "the process died");
        fine = fine && status == 0 && jobs[index].over;
        sums += jobs[index].figures;
    }
    ::munmap(memory, wish.jobs * sizeof(Job));
    return fine;
}

bool parse(int argc, char** argv, Wish& wish) {
    for (int at = 1; at < argc; ++at) {
        const std::string_view word = argv[at];
        if (word == "--trace") {
            wish.trace = true;
        } else if (word == "--hashes") {
            wish.hashes = true;
        } else if (++at == argc) {
            return false;
        } else if (word == "--sample") {
            wish.sample = argv[at];
        } else {
            char* end = nullptr;
            const std::uint64_t number = std::strtoull(argv[at], &end, 0);
            if (*argv[at] == '\0' || *end != '\0') return false;
            if (word == "--seeds")
                wish.seeds = number;
            else if (word == "--first")
                wish.first = number;
            else if (word == "--jobs" && number > 0 && number <= 256)
                wish.jobs = static_cast<unsigned>(number);
            else if (word == "--seed")
                wish.one = true, wish.first = number;
            else
                return false;
        }
    }
    bool known = wish.sample.empty() && !wish.one;
    for (const Play& play : plays) known = known || play.name == wish.sample;
    return known;
}

int print_hashes() {
    std::puts("// Made by chainring_seeds --hashes: sample, seed, hash of its trace.");
    for (const Play& play : plays)
        for (std::uint64_t seed = 1; seed <= 20; ++seed) {
            Figures sums;
            if (!play_seed(play, seed, false, sums)) return 1;
            std::printf("{\"%s\", %llu, 0x%016llx},\n", std::string(play.name).c_str(),
                        static_cast<unsigned long long>(seed), static_cast<unsigned long long>(sums.hash));
        }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    program = argv[0];
    Wish wish;
    if (!parse(argc, argv, wish)) return usage();
    if (wish.hashes) return print_hashes();
    bool fine = true;
    Figures sums;
    const auto begin = std::chrono::steady_clock::now();
    const auto since = [](auto start) {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    };
    for (const Play& play : plays) {
        if (!wish.sample.empty() && play.name != wish.sample) continue;
        const auto start = std::chrono::steady_clock::now();
        const double cpu = cpu_seconds();
        Figures of_play;
        if (wish.one)
            fine = play_seed(play, wish.first, wish.trace, of_play);
        else
            fine = run_jobs(play, wish, of_play) && fine;
        if (!wish.trace) print_sums(play.name, of_play, since(start), cpu_seconds() - cpu);
        sums += of_play;
    }
    if (wish.one)
        std::fprintf(stderr, "hash of the trace: 0x%016llx\n", static_cast<unsigned long long>(sums.hash));
    else if (wish.sample.empty())
        print_sums("all", sums, since(begin), cpu_seconds());
    return fine ? 0 : 1;
}
