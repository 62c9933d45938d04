// Many threads run one model, with sessions that come and go: each answer is the first one.
//   bmx_stress PREFIX [THREADS [RUNS]]
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <thread>
#include <vector>

#include "bmx.hpp"

namespace {

constexpr int kRunsOfSession = 100;

std::vector<float> input_of(const bmx::Shape& shape) {
  size_t size = 1;
  for (int64_t length : shape) size *= static_cast<size_t>(length);
  std::vector<float> input(size);
  for (size_t i = 0; i < size; ++i) input[i] = static_cast<float>(i * 7919 % 255) / 128 - 1;
  return input;
}

struct Answers {
  bmx::Shape shape;
  std::vector<float> input;
  std::vector<std::vector<float>> outputs;

  Answers(const bmx::Model& model, int64_t images) : shape(model.input_shape()) {
    shape[0] = images;
    input = input_of(shape);
    outputs = bmx::Session(model, 1).run(input, shape);
  }
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bmx_stress PREFIX [THREADS [RUNS]]\n");
    return 2;
  }
  const int threads = argc > 2 ? std::atoi(argv[2]) : 8, runs = argc > 3 ? std::atoi(argv[3]) : 400;
  try {
    const bmx::Model model(argv[1]);
    const std::vector<Answers> answers = {{model, 1}, {model, 3}};
    std::atomic<int> left{runs}, wrong{0};
    std::vector<std::thread> users;
    for (int user = 0; user < threads; ++user) {
      users.emplace_back([&, user] {
        std::unique_ptr<bmx::Session> session;
        for (int run = 0; left.fetch_sub(1) > 0; ++run) {
          if (run % kRunsOfSession == 0) {
            const int team = 1 + (user + run / kRunsOfSession) % 3;
            // at times of a model that is gone when it runs
            session.reset(run % (2 * kRunsOfSession) ? new bmx::Session(bmx::Model(argv[1]), team)
                                                     : new bmx::Session(model, team));
          }
          const Answers& expected = answers[(user + run) % answers.size()];
          if (session->run(expected.input, expected.shape) != expected.outputs) ++wrong;
        }
      });
    }
    for (std::thread& user : users) user.join();
    std::printf("%d runs in %d threads, %d wrong\n", runs, threads, wrong.load());
    return wrong ? 1 : 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bmx_stress: %s\n", error.what());
    return 1;
  }
}
