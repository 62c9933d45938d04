// Threads that compute together.
#ifndef BMX_TEAM_H_
#define BMX_TEAM_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

namespace bmx {

// Its first thread is the one that calls run(). Threads that wait look out for what they wait for during some
// microseconds, then for a moment let others run in between, then sleep.
class Team {
 public:
  // The other `size` - 1 threads start with the first run().
  explicit Team(int size);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  int size() const { return size_; }

  // Has every thread call `work`. What one throws ends the work of all and is thrown here. Throws Error where threads
  // cannot be started. In a process that was forked the team starts new ones.
  void run(const std::function<void()>& work);

 private:
  friend int member();
  friend int members();
  friend class Alone;
  friend void meet();
  template <typename Task>
  friend void deal(int64_t count, const Task& task);

  struct Threads;  // those that were started, and what they share
  // The team that this thread works for, and its number there.
  struct Membership {
    Threads* team;
    int number;
  };
  static Membership& current();
  static std::atomic<int64_t>& next_task(Threads* team);

  int size_;
  std::unique_ptr<Threads> threads_;
};

// What follows is for the work of a team. Outside of it the thread is a team of its own.

// The thread's number, and how many threads there are.
int member();
int members();

// Waits until all members have come here.
void meet();

// While this lives the thread is a team of its own.
class Alone {
 public:
  Alone() : before_(Team::current()) { Team::current() = {nullptr, 0}; }
  ~Alone() { Team::current() = before_; }
  Alone(const Alone&) = delete;
  Alone& operator=(const Alone&) = delete;

 private:
  Team::Membership before_;
};

// Calls task(i) of the thread's share of [0, count).
template <typename Task>
void split(int64_t count, const Task& task) {
  const int64_t end = count * (member() + 1) / members();
  for (int64_t i = count * member() / members(); i < end; ++i) task(i);
}

// Calls task(i) of each i of [0, count) in the thread that is free, then all meet.
template <typename Task>
void deal(int64_t count, const Task& task) {
  Team::Threads* team = Team::current().team;
  if (!team) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  std::atomic<int64_t>& next = Team::next_task(team);
  for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < count;) task(i);
  meet();
}

}  // namespace bmx

#endif  // BMX_TEAM_H_
