#include "classify.h"

#include <algorithm>
#include <cmath>

namespace bmx_run {

std::vector<Guess> likeliest(const std::vector<float>& scores, size_t count) {
  const float greatest = *std::max_element(scores.begin(), scores.end());
  std::vector<double> shares;
  double sum = 0;
  for (const float score : scores) {
    shares.push_back(std::exp(static_cast<double>(score) - static_cast<double>(greatest)));
    sum += shares.back();
  }
  std::vector<Guess> guesses;
  for (size_t index = 0; index < shares.size(); ++index) {
    guesses.push_back({index, static_cast<double>(static_cast<float>(shares[index] / sum))});
  }
  // What is no number comes last.
  std::stable_sort(guesses.begin(), guesses.end(), [](const Guess& a, const Guess& b) {
    return std::isnan(b.probability) ? !std::isnan(a.probability) : a.probability > b.probability;
  });
  guesses.resize(std::min(count, guesses.size()));
  return guesses;
}

}  // namespace bmx_run
