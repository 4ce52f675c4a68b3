// SPDX-License-Identifier: BSL-1.0
// The fuzz targets without a fuzzer: on the inputs of their corpora, and on some thousands that are made of those by
// chance, the same ones each time.
#include "tests/fuzz/targets.hpp"

#include <algorithm>
#include <doctest/doctest.h>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

namespace {

struct Target {
    const char* name;
    void (*run)(std::span<const std::byte> input);
};

constexpr Target targets[] = {{"length_prefixed", fuzz::fuzz_length_prefixed},
                              {"lines", fuzz::fuzz_lines},
                              {"tagged_frame", fuzz::fuzz_tagged_frame},
                              {"tcp_motor_frame", fuzz::fuzz_tcp_motor_frame}};

std::vector<std::string> corpus(const char* name) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry : std::filesystem::directory_iterator(std::filesystem::path(CHAINRING_FUZZ_CORPUS) / name))
        files.push_back(entry.path());
    std::sort(files.begin(), files.end());
    std::vector<std::string> inputs;
    for (const auto& file : files) {
        std::ifstream stream(file, std::ios::binary);
        inputs.emplace_back(std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>());
    }
    return inputs;
}

void run(const Target& target, const std::string& input) {
    target.run(std::as_bytes(std::span(input)));
}

}  // namespace

TEST_CASE("every input of a corpus is decoded the same however it is cut") {
    for (const Target& target : targets) {
        const auto inputs = corpus(target.name);
        CHECK(!inputs.empty());
        for (const std::string& input : inputs) run(target, input);
    }
}

TEST_CASE("and so is what is made of them by chance") {
    std::mt19937 random(1);
    const auto below = [&random](std::size_t count) { return count == 0 ? 0 : random() % count; };
    for (const Target& target : targets) {
        const auto inputs = corpus(target.name);
        for (int round = 0; round < 2000; ++round) {
            std::string input = inputs[below(inputs.size())];
            for (std::size_t changes = below(4); changes > 0; --changes) {
                const std::size_t at = below(input.size());
                const std::string& other = inputs[below(inputs.size())];
                if (input.size() > at && below(2) == 0)
                    input[at] = static_cast<char>(random());
                else if (below(2) == 0)
                    input.insert(at, other.substr(std::min<std::size_t>(3, other.size())));
                else
                    input.erase(at, below(9));
            }
            run(target, input);
        }
    }
}
