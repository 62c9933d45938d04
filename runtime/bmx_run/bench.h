// How long a session takes.
#ifndef BMX_RUN_BENCH_H_
#define BMX_RUN_BENCH_H_

#include <cstddef>
#include <vector>

#include "bmx.hpp"

namespace bmx_run {

struct Latency {
  size_t runs;
  double min_ms, median_ms, p99_ms;  // p99: that 99 % of the runs do not exceed
};

// Of times in milliseconds, at least one.
Latency summarize(std::vector<double> times);

// Runs for some two seconds, at least 20 times, after runs that are not counted.
Latency measure(const bmx::Model& model, bmx::Session* session, const std::vector<float>& input,
                const bmx::Shape& shape);

// Values of -2 to 2, the same each time.
std::vector<float> noise(const bmx::Shape& shape);

}  // namespace bmx_run

#endif  // BMX_RUN_BENCH_H_
