// SPDX-License-Identifier: BSL-1.0
//
// The smallest program that needs the whole library: headers, coroutines, a worker and its timers.
#include <chainring/chainring.hpp>

#include <chrono>

using namespace std::chrono_literals;

chainring::Task<> async_main() {
    co_await chainring::sleep_for(1ms);
}

int main() {
    return chainring::run(async_main);
}
