// SPDX-License-Identifier: BSL-1.0
// Names for the tests: names.cpp puts a getaddrinfo of its own before the C library's, in this program. A name that a
// NameServer has is answered by it; every other one by the C library.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

struct addrinfo;

namespace support {

class NameServer {
public:
    // One at a time.
    NameServer();
    NameServer(const NameServer&) = delete;
    NameServer& operator=(const NameServer&) = delete;
    ~NameServer();  // after all questions have been answered

    // `error`: EAI_... of netdb.h instead of addresses.
    void set(const std::string& name, std::vector<std::string> addresses, int error = 0);
    // Questions wait for open() from now on.
    void close();
    void open();
    unsigned asked() const;    // questions so far
    unsigned waiting() const;  // questions that wait

    // For getaddrinfo. False: not one of its names.
    bool answer(const char* name, const addrinfo* hints, addrinfo** list, int* error);

private:
    struct Answer {
        std::vector<std::string> addresses;
        int error = 0;
    };
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::string, Answer> names_;
    bool open_ = true;
    unsigned asked_ = 0;
    unsigned waiting_ = 0;
};

}  // namespace support
