// SPDX-License-Identifier: BSL-1.0
#include "tests/unit/names.hpp"

#include <dlfcn.h>
#include <netdb.h>
#include <shared_mutex>

namespace support {

namespace {

std::shared_mutex current_mutex;  // shared by the questions, until they are answered
NameServer* current = nullptr;

int system_getaddrinfo(const char* node, const char* service, const addrinfo* hints, addrinfo** list) {
    using Function = int (*)(const char*, const char*, const addrinfo*, addrinfo**);
    static const auto next = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "getaddrinfo"));
    return next(node, service, hints, list);
}

}  // namespace

NameServer::NameServer() {
    const std::lock_guard lock(current_mutex);
    current = this;
}

NameServer::~NameServer() {
    open();
    const std::lock_guard lock(current_mutex);
    current = nullptr;
}

void NameServer::set(const std::string& name, std::vector<std::string> addresses, int error) {
    const std::lock_guard lock(mutex_);
    names_[name] = Answer{std::move(addresses), error};
}

void NameServer::close() {
    const std::lock_guard lock(mutex_);
    open_ = false;
}

void NameServer::open() {
    const std::lock_guard lock(mutex_);
    open_ = true;
    changed_.notify_all();
}

unsigned NameServer::asked() const {
    const std::lock_guard lock(mutex_);
    return asked_;
}

unsigned NameServer::waiting() const {
    const std::lock_guard lock(mutex_);
    return waiting_;
}

bool NameServer::answer(const char* name, const addrinfo* hints, addrinfo** list, int* error) {
    std::unique_lock lock(mutex_);
    const auto found = names_.find(name);
    if (found == names_.end()) return false;
    const Answer answer = found->second;
    ++asked_;
    ++waiting_;
    changed_.wait(lock, [this] { return open_; });
    --waiting_;
    *error = answer.error;
    *list = nullptr;
    // A list of the C library's own lists, so that its freeaddrinfo frees it.
    for (addrinfo** end = list; const std::string& address : answer.addresses) {
        addrinfo numeric = *hints;
        numeric.ai_flags = AI_NUMERICHOST;
        system_getaddrinfo(address.c_str(), nullptr, &numeric, end);
        if (*end) end = &(*end)->ai_next;
    }
    return true;
}

}  // namespace support

extern "C" int getaddrinfo(const char* node, const char* service, const addrinfo* hints, addrinfo** list) {
    const std::shared_lock lock(support::current_mutex);
    int error = 0;
    if (support::current && support::current->answer(node, hints, list, &error)) return error;
    return support::system_getaddrinfo(node, service, hints, list);
}
