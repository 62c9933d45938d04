#include "team.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "error.h"

namespace bmx {
namespace {

using Clock = std::chrono::steady_clock;

// How long a thread that waits keeps its core to itself, and how long it offers it to others before it sleeps: longer
// than from one instruction of a program to the next, and than from one image to the next.
constexpr std::chrono::microseconds kSpin{5}, kYield{100};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

// A number that grows, and threads that wait until it has.
class Event {
 public:
  uint32_t count() const { return count_.load(std::memory_order_acquire); }

  void happen() {
    count_.fetch_add(1);  // before it looks for who sleeps: they look at the count after they said so
    if (!sleepers_.load()) return;
    std::lock_guard<std::mutex> lock(mutex_);
    condition_.notify_all();
  }

  // Waits until the count is not `old`.
  void wait(uint32_t old) {
    constexpr int kPauses = 16;  // between looks at the clock
    const Clock::time_point begin = Clock::now();
    for (Clock::duration waited{0}; waited < kYield; waited = Clock::now() - begin) {
      for (int i = 0; i < kPauses; ++i) {
        if (count() != old) return;
        pause();
      }
      if (waited > kSpin) std::this_thread::yield();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    ++sleepers_;
    condition_.wait(lock, [&] { return count_.load() != old; });
    --sleepers_;
  }

 private:
  std::atomic<uint32_t> count_{0};
  std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable condition_;
};

// Thrown where another member has failed.
struct Abandoned {};

// While this lives, threads that are started receive no signals, which are for the program's own threads, but those of
// their own mistakes.
class NoSignals {
 public:
  NoSignals() {
    sigset_t all;
    sigfillset(&all);
    for (int mistake : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT}) sigdelset(&all, mistake);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

struct Team::Threads {
  explicit Threads(int size) : size(size), process(getpid()) {
    const NoSignals no_signals;
    try {
      for (int number = 1; number < size; ++number) others.emplace_back([this, number] { serve(number); });
    } catch (const std::system_error&) {
      stop();
      throw ResourceError("cannot start " + std::to_string(size - 1) + " threads; use fewer");
    }
  }
  ~Threads() { stop(); }

  void run(const std::function<void()>& task) {
    work = &task;
    arrived = 0;
    next = 0;
    working = size;
    failed = false;
    failure = nullptr;
    const uint32_t before = done.count();
    begun.happen();
    take_part(0);
    if (working.load(std::memory_order_acquire)) done.wait(before);
    if (failure) std::rethrow_exception(failure);
  }

  void meet() {
    const uint32_t before = met.count();
    if (failed.load(std::memory_order_acquire)) throw Abandoned();
    if (arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
      arrived.store(0, std::memory_order_relaxed);
      next.store(0, std::memory_order_relaxed);
      met.happen();
    } else {
      met.wait(before);
    }
    if (failed.load(std::memory_order_acquire)) throw Abandoned();
  }

  const int size;
  const pid_t process;
  std::atomic<int64_t> next{0};  // task that nobody has taken

 private:
  void serve(int number) {
    for (uint32_t seen = 0;;) {
      begun.wait(seen);
      if (stopped) return;
      ++seen;
      take_part(number);
    }
  }

  void take_part(int number) {
    const Membership before = current();
    current() = {this, number};
    try {
      (*work)();
    } catch (const Abandoned&) {
    } catch (...) {
      std::lock_guard<std::mutex> lock(failing);
      if (!failure) failure = std::current_exception();
      failed.store(true, std::memory_order_release);
      met.happen();
    }
    current() = before;
    if (working.fetch_sub(1, std::memory_order_acq_rel) == 1) done.happen();
  }

  void stop() {
    stopped = true;
    begun.happen();
    for (std::thread& other : others) other.join();
  }

  const std::function<void()>* work = nullptr;
  std::atomic<int> arrived{0}, working{0};
  std::atomic<bool> failed{false}, stopped{false};
  std::mutex failing;
  std::exception_ptr failure;
  Event begun, met, done;
  std::vector<std::thread> others;
};

Team::Team(int size) : size_(size) {}

Team::~Team() {
  if (threads_ && threads_->process != getpid()) threads_.release();  // they are the parent's
}

void Team::run(const std::function<void()>& work) {
  if (size_ == 1) return work();
  if (threads_ && threads_->process != getpid()) threads_.release();
  if (!threads_) threads_.reset(new Threads(size_));
  threads_->run(work);
}

Team::Membership& Team::current() {
  static thread_local Membership membership = {nullptr, 0};
  return membership;
}

std::atomic<int64_t>& Team::next_task(Threads* team) { return team->next; }

int member() { return Team::current().number; }

int members() {
  const Team::Threads* team = Team::current().team;
  return team ? team->size : 1;
}

void meet() {
  if (Team::Threads* team = Team::current().team) team->meet();
}

}  // namespace bmx
