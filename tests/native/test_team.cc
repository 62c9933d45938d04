// Teams of threads: every task once, meetings, failures, forks.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "error.h"
#include "random.h"
#include "team.h"
#include "tests.h"

namespace {

using bmx::Team;

// The sanitizer of threads has none in children, and QEMU 7 aborts.
#if defined(__SANITIZE_THREAD__) || defined(UNDER_QEMU)
constexpr bool kThreadsInChildren = false;
#else
constexpr bool kThreadsInChildren = true;
#endif

constexpr int kThreads = 4, kRounds = 200, kTasks = 37;

// Each round writes what the next one reads, dealt otherwise. Is all of it there?
bool works(Team* team) {
  std::vector<int> dealt(kTasks), shared(kTasks);
  std::atomic<int> wrong{0};
  team->run([&] {
    for (int round = 1; round <= kRounds; ++round) {
      bmx::split(kTasks, [&](int64_t i) { shared[i] = dealt[kTasks - 1 - i] + 1; });
      bmx::meet();
      bmx::deal(kTasks, [&](int64_t i) { dealt[i] = shared[kTasks - 1 - i] + 1; });
      if (dealt[bmx::member()] != 2 * round || bmx::members() != team->size()) ++wrong;
      bmx::meet();
    }
  });
  return wrong == 0 && bmx::member() == 0 && bmx::members() == 1;
}

// One member throws in the middle, wherever the others are.
bool fails(Team* team, int member, bool last) {
  try {
    team->run([=] {
      bmx::meet();
      if (bmx::member() == member) bmx::fail("member ", member);
      for (int i = 0; !last && i < 3; ++i) bmx::deal(kTasks, [](int64_t) {});
    });
  } catch (const bmx::Error& error) {
    return error.what() == "member " + std::to_string(member);
  }
  return false;
}

// In a child the threads of its parent are gone.
bool works_in_child(Team* team) {
  const pid_t child = fork();
  if (child == 0) _exit(works(team) ? 0 : 1);
  int status = 1;
  return waitpid(child, &status, 0) == child && status == 0;
}

bool works_beside_others() {
  std::atomic<int> right{0};
  std::vector<std::thread> users;
  for (int i = 0; i < kThreads; ++i) {
    users.emplace_back([&, i] {
      Team team(1 + i);
      for (int j = 0; j < 3; ++j) right += works(&team);
    });
  }
  for (std::thread& user : users) user.join();
  return right == 3 * kThreads;
}

std::string wrong() {
  for (int size = 1; size <= kThreads; ++size) {
    Team team(size);
    const std::string name = "a team of " + std::to_string(size);
    for (int member = 0; member < size; ++member) {
      if (!works(&team)) return name + " does not do every task once, in order";
      if (!fails(&team, member, false) || !fails(&team, member, true)) return name + " does not hand over an error";
    }
    if (!works(&team)) return name + " does not work after an error";
    if (kThreadsInChildren && !works_in_child(&team)) return name + " does not work in a child";
  }
  return works_beside_others() ? "" : "teams disturb each other";
}

}  // namespace

bmx::Team* team_of(int threads) {
  static bmx::Team one(1), two(2), three(3);
  return threads == 1 ? &one : threads == 2 ? &two : &three;
}

int any_threads() { return static_cast<int>(1 + random_below(3)); }

bool teams_work() {
  const std::string failure = wrong();
  if (failure.empty()) std::printf("teams: ok\n");
  else std::printf("teams: %s\n", failure.c_str());
  return failure.empty();
}
