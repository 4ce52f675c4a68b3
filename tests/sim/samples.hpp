// SPDX-License-Identifier: BSL-1.0
// What the samples consist of, for simulated hosts to run: samples/*.cpp are compiled unchanged, each in a source of
// its own here.
#pragma once

#include <chainring/chainring.hpp>

#include <cstdio>

// Where the samples' messages go.
std::FILE* nowhere();

#pragma push_macro("stderr")
#undef stderr
#define stderr nowhere()
#include "samples/command_line.hpp"
#pragma pop_macro("stderr")

chainring::Task<int> serve_echo(const CommandLine& options);
chainring::Task<int> serve_chat(const CommandLine& options);
chainring::Task<int> serve_relay(const CommandLine& options, chainring::Address target);

int echo_main(int argc, char** argv);
int chat_main(int argc, char** argv);
int relay_main(int argc, char** argv);

// While one of these lives, stdout goes nowhere, too.
class Silence {
public:
    Silence();
    Silence(const Silence&) = delete;
    Silence& operator=(const Silence&) = delete;
    ~Silence();

private:
    std::FILE* before_;
};
