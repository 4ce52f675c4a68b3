// SPDX-License-Identifier: BSL-1.0
#include "runtime/src/runtime_state.hpp"

#include "runtime/src/cpu_count.hpp"
#include "runtime/src/signal_handler.hpp"
#include "runtime/src/sim/host.hpp"
#include "runtime/src/sim/simulation.hpp"

#include <array>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <latch>
#include <mutex>
#include <signal.h>
#include <stdexcept>
#include <string>
#include <system_error>

CHAINRING_BEGIN_NAMESPACE

namespace {

// As the runtime will have them. Throws std::invalid_argument.
RuntimeOptions completed(RuntimeOptions options) {
    if (!std::has_single_bit(options.recv_buffers) || options.recv_buffers > 32768)
        throw std::invalid_argument("chainring: recv_buffers must be a power of two from 1 to 32768");
    if (options.recv_buffer_size < 64 || options.recv_buffer_size > (1U << 24))
        throw std::invalid_argument("chainring: recv_buffer_size must be from 64 bytes to 16 MiB");
    if (!std::has_single_bit(options.ring_entries) || options.ring_entries < 32 || options.ring_entries > 32768)
        throw std::invalid_argument("chainring: ring_entries must be a power of two from 32 to 32768");
    if (options.offload_threads < 1 || options.offload_threads > 1024)
        throw std::invalid_argument("chainring: offload_threads must be from 1 to 1024");
    if (options.workers > 1024) throw std::invalid_argument("chainring: workers must be at most 1024");
    if (options.dump_signal < 0 || options.dump_signal >= NSIG)
        throw std::invalid_argument("chainring: dump_signal must be the number of a signal, or 0");
    if (options.workers == 0) options.workers = detail::usable_cpus();
    if (options.spin == RuntimeOptions::automatic_spin)
        options.spin = options.workers > 1 ? std::chrono::microseconds(20) : Duration::zero();
    return options;
}

// What the environment asks for, where the program leaves the choice open.
BackendKind wanted_backend(BackendKind chosen) {
    const char* name = std::getenv("CHAINRING_BACKEND");
    if (chosen != BackendKind::automatic || !name || !*name) return chosen;
    const std::string_view value = name;
    if (value == "uring" || value == "io_uring") return BackendKind::uring;
    if (value == "epoll") return BackendKind::epoll;
    if (value == "sim") return BackendKind::sim;
    if (value == "auto") return BackendKind::automatic;
    throw std::invalid_argument("chainring: CHAINRING_BACKEND is '" + std::string(value) +
                                "'; it may be uring, epoll, sim or auto");
}

// A world of its own, with one host: a kind one, or the one of the seed that the environment names.
std::unique_ptr<detail::sim::Simulation> make_own_world() {
    const char* text = std::getenv("CHAINRING_SEED");
    const bool seeded = text && *text;
    auto world = std::make_unique<detail::sim::Simulation>(
        seeded ? std::strtoull(text, nullptr, 0) : 1, seeded ? detail::sim::Mischief() : detail::sim::Mischief::none());
    // On the loopback of one machine nobody gives up, and nothing is lost.
    world->network().mischief.abort_accept = world->network().mischief.lose = 0;
    detail::sim::Machine& machine = world->network().add_machine("localhost", {});
    detail::sim::Conditions loopback;
    if (!seeded) loopback.latency = loopback.jitter = Duration::zero();  // as Linux has it
    world->network().set_conditions(machine, machine, loopback);
    world->add_host(machine);
    return world;
}

}  // namespace

RuntimeState::RuntimeState(Runtime& owner, const RuntimeOptions& chosen, detail::sim::Host* simulated)
    : runtime(owner),
      options(completed(chosen)),
      own_world(!simulated && wanted_backend(options.backend) == BackendKind::sim ? make_own_world() : nullptr),
      host(own_world ? own_world->hosts().front().get() : simulated),
      safepoint(options.workers),
      offload(options.offload_threads, options.offload_full == OffloadFull::reject ? options.offload_queue : 0, host),
      may_spin(options.spin > Duration::zero() && !options.clock && !host && options.workers <= detail::usable_cpus()),
      learn_spin(may_spin && chosen.spin == RuntimeOptions::automatic_spin),
      take_turns(!host && options.workers > 1 && options.workers > detail::usable_cpus()) {
    if (host && options.steal == Steal::overloaded) options.steal = Steal::eager;  // virtual time costs nothing to wait
    choose_backend();
    grace_timer_.state = this;
    grace_timer_.fire = [](detail::TimerNode& node) noexcept { static_cast<StopTimer&>(node).state->grace_passed(); };
    unended_timer_.state = this;
    unended_timer_.fire = [](detail::TimerNode& node) noexcept {
        static_cast<StopTimer&>(node).state->report_unstopped("have not ended a second after they were cancelled");
    };
}

RuntimeState::~RuntimeState() = default;

void RuntimeState::choose_backend() {
    const detail::BackendOptions backend{options.recv_buffers, options.recv_buffer_size, options.ring_entries,
                                         options.clock};
    const BackendKind wanted = host ? BackendKind::sim : wanted_backend(options.backend);
    const auto make_all = [&](auto make) {
        workers.clear();
        for (unsigned index = 0; index < options.workers; ++index)
            workers.push_back(std::make_unique<detail::Worker>(*this, index, make(backend)));
        backend_name = workers.front()->backend().name();
    };
    std::string why = wanted == BackendKind::epoll ? "as asked" : "";
    if (host) {
        make_all([this](const detail::BackendOptions& chosen) { return host->make_backend(chosen); });
    } else if (wanted != BackendKind::epoll) {
        try {
            make_all(detail::make_uring_backend);
        } catch (const std::system_error& error) {
            if (wanted == BackendKind::uring) throw;
            why = std::string("io_uring refused: ") + error.code().message();
        }
    }
    if (workers.size() != options.workers) make_all(detail::make_epoll_backend);
    if (options.log) {
        std::string line = "chainring: backend ";
        line += backend_name;
        if (!why.empty()) line += " (" + why + ")";
        line += ", " + std::to_string(options.workers) + (options.workers == 1 ? " worker" : " workers");
        options.log(line);
    }
}

void RuntimeState::handle_stop() noexcept {
    const unsigned requests = stop_requests.load(std::memory_order_acquire);
    const Phase now_in = phase.load(std::memory_order_relaxed);
    const bool begin = now_in == Phase::running && main_ended.load(std::memory_order_acquire);
    if (requests == requests_handled_ && !begin) return;
    const unsigned fresh = requests - requests_handled_;
    requests_handled_ = requests;
    if (now_in == Phase::running) begin_draining();
    if (fresh > 0 && (now_in == Phase::draining || fresh > 1)) begin_cancelling();
}

void RuntimeState::begin_draining() noexcept {
    phase.store(Phase::draining, std::memory_order_release);
    detail::Worker& first = *workers.front();
    first.timers().arm(grace_timer_, detail::after(first.now(), options.stop_grace));
    wake_all();
}

void RuntimeState::grace_passed() noexcept {
    if (options.stop_grace > Duration::zero()) {
        std::array<char, 32> grace{};
        std::snprintf(grace.data(), grace.size(), "%.1f s", std::chrono::duration<double>(options.stop_grace).count());
        report_unstopped(std::string("did not stop within ") + grace.data() + " and are cancelled");
    }
    begin_cancelling();
}

void RuntimeState::begin_cancelling() noexcept {
    if (phase.load(std::memory_order_relaxed) == Phase::cancelling) return;
    detail::Worker& first = *workers.front();
    first.timers().cancel(grace_timer_);
    first.timers().arm(unended_timer_, first.now() + std::chrono::seconds(1));
    phase.store(Phase::cancelling, std::memory_order_release);
    runtime.root().cancel();
    wake_all();
}

// ---- reports

std::string RuntimeState::report_tasks(std::size_t max_tasks, std::size_t* count) {
    const detail::Worker* here = detail::Worker::current();
    const bool ours = here && &here->runtime() == this && !host;
    const detail::Safepoint::Pause pause(safepoint, ours ? here->index() : detail::Safepoint::Pause::no_worker,
                                         std::chrono::seconds(1), [this] { wake_all(); });
    detail::TaskReport report(*this, pause, max_tasks);
    if (count) *count = report.tasks();
    return report.take();
}

void RuntimeState::report_unstopped(const std::string& why) noexcept {
    constexpr std::size_t most = 50;
    if (!options.log) return;
    std::size_t tasks = 0;
    const std::string text = report_tasks(most, &tasks);
    if (tasks == 0) return;
    log_lines("chainring: " + std::to_string(tasks) + " task(s) " + why + ":\n" + text);
}

void RuntimeState::log_lines(std::string_view text) const {
    if (!options.log) return;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        options.log(text.substr(0, end));
        text.remove_prefix(end == text.npos ? text.size() : end + 1);
    }
}

void RuntimeState::report_root_exception(const detail::TaskContext& task, std::exception_ptr exception) noexcept {
    detail::Worker& worker = *detail::Worker::current();
    const std::string chain = worker.exception_trace().text(exception);
    if (options.unhandled_exception) {
        options.unhandled_exception(exception, chain);
        return;
    }
    std::string text = "chainring: " + detail::task_name(task) + ", a task of the root scope, ended with an exception";
    try {
        std::rethrow_exception(exception);
    } catch (const std::exception& known) {
        text += std::string(": ") + known.what();
    } catch (...) {
    }
    text += '\n' + chain;
    std::fputs(text.c_str(), stderr);
    std::terminate();
}

void RuntimeState::start_others(std::vector<std::thread>& threads) {
    std::exception_ptr failure;
    std::mutex mutex;
    std::latch attached(static_cast<std::ptrdiff_t>(workers.size()) - 1);
    const auto body = [&](detail::Worker& worker) {
        bool good = true;
        try {
            worker.attach();
        } catch (...) {
            const std::lock_guard lock(mutex);
            failure = std::current_exception();
            good = false;
        }
        if (good) others_running_.fetch_add(1, std::memory_order_relaxed);
        attached.count_down();  // after this nothing of start_others may be touched
        return good;
    };
    std::size_t started = 1;
    try {
        const detail::BlockedSignals blocked({SIGINT, SIGTERM});  // they are for the thread that called run
        threads.reserve(workers.size() - 1);
        for (; started < workers.size(); ++started)
            threads.emplace_back([&body, worker = workers[started].get()] {
                if (body(*worker)) worker->run();
            });
    } catch (...) {
        failure = std::current_exception();
        attached.count_down(static_cast<std::ptrdiff_t>(workers.size() - started));
    }
    attached.wait();
    if (failure) std::rethrow_exception(failure);
}

// ---- tasks

// The push and the look at who is parked are the two halves of Dekker's pattern, as in Worker::post: a worker that
// parks announces it before it looks at the injection queue.
void RuntimeState::inject(detail::TaskContext& task) noexcept {
    const detail::Worker::Guest guest(*workers.front());
    detail::RunNode& node = task;
    injection.push(node);
    for (const auto& worker : workers)
        if (worker->wake_if_parked()) return;
}

void RuntimeState::wake_one(const detail::Worker& from) noexcept {
    for (std::size_t step = 1; step < workers.size(); ++step)
        if (workers[(from.index() + step) % workers.size()]->wake_if_parked()) return;
}

void RuntimeState::main_has_ended() noexcept {
    main_ended.store(true, std::memory_order_release);  // worker 0 looks at it in each pass
    workers.front()->force_wake();
}

void RuntimeState::name_task(detail::TaskContext& task, const char* name) {
    const std::lock_guard lock(names_mutex_);
    names_.insert_or_assign(&task, name);
    task.named = true;
}

void RuntimeState::forget_name(const detail::TaskContext& task) noexcept {
    const std::lock_guard lock(names_mutex_);
    names_.erase(&task);
}

const char* RuntimeState::name_of(const detail::TaskContext& task) const noexcept {
    const std::lock_guard lock(names_mutex_);
    const auto found = names_.find(&task);
    return found == names_.end() ? nullptr : found->second;
}

void RuntimeState::worker_left() noexcept {
    // release: worker 0 sees all that the leaving worker did. The last one wakes it.
    if (others_running_.fetch_sub(1, std::memory_order_acq_rel) == 1) workers.front()->force_wake();
}

void RuntimeState::finish() noexcept {
    finishing.store(true, std::memory_order_release);
    wake_all();
}

void RuntimeState::wake_all() noexcept {
    for (const auto& worker : workers) worker->force_wake();
}

CHAINRING_END_NAMESPACE
