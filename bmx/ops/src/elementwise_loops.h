// The loops of elementwise.h. A kernel that runs on part of the CPUs only includes this inside its target region, as it
// does binarize.h. Each result is that of the same operations in the same order whatever the vectors. What compilers do
// not make of loops is done with a kernel's own vectors, a type `Vectors`: kBytes, the size of one; Square, the largest
// square of values that is transposed in registers (transposition.h); to_doubles, from the floats of half a vector.
#ifndef BMX_ELEMENTWISE_LOOPS_H_
#define BMX_ELEMENTWISE_LOOPS_H_

#include <cstdint>
#include <cstring>

#include "elementwise.h"
#include "transposition.h"
#include "vectors.h"

namespace bmx {
namespace {

// What a step makes of a value, with up to kMaxStepValues values of its channel.
namespace formulas {

typedef float (*Formula)(float x, float a, float b, float c);

inline float multiply(float x, float by, float, float) { return x * by; }
inline float add(float x, float what, float, float) { return x + what; }
inline float normalize(float x, float mean, float scale, float beta) { return (x - mean) * scale + beta; }
inline float rectify(float x, float, float, float) { return x <= 0.0f ? 0.0f : x; }

// `factor`, times `by` where x is not positive. Two choices of a constant and a sum: a choice of a product would become
// a branch, which nobody predicts.
template <typename Value>
inline Value multiply_below(Value x, Value factor, Value by) {
  const Value above = x > 0 ? factor : Value{0}, below = x > 0 ? Value{0} : factor;
  return above + below * by;
}

inline float parametric_rectify(float x, float slope, float, float) { return multiply_below(x, x, slope); }

}  // namespace formulas

// Loops over kLanes channels become one vector or a few, which without `simd` they do not always.

// Of `Pixels` pixels all values are in registers while the steps go over them.
template <int Bytes, int Pixels, typename Value>
inline void run_steps(const TileStep* steps, int64_t count, int64_t pixel, const Value* from, int64_t from_stride,
                      float* to, int64_t stride) {
  typedef typename VectorOf<float, Bytes>::Type Floats;
  typedef typename VectorOf<int32_t, Bytes>::Type Bits;
  typedef typename VectorOf<Value, Bytes>::Type Values;
  constexpr int kLength = Bytes / sizeof(float), kVectors = kLanes / kLength;
  Floats x[Pixels][kVectors];
  const auto for_vectors = [](const auto& run) {
#pragma GCC unroll 8
    for (int p = 0; p < Pixels; ++p) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) run(p, v);
    }
  };
  for_vectors([&](int p, int v) {
    x[p][v] = __builtin_convertvector(load_from<Values>(from + (pixel + p) * from_stride + v * kLength), Floats);
  });
  for (int64_t i = 0; i < count; ++i) {
    const int64_t next = steps[i].stride;
    const float* values = steps[i].values;
    const auto value = [&](int row, int v) { return load_from<Floats>(values + row * next + v * kLength); };
    switch (steps[i].kind) {
      case Step::kMultiply: for_vectors([&](int p, int v) { x[p][v] *= value(0, v); }); break;
      case Step::kAdd: for_vectors([&](int p, int v) { x[p][v] += value(0, v); }); break;
      case Step::kNormalize:
        for_vectors([&](int p, int v) { x[p][v] = (x[p][v] - value(0, v)) * value(1, v) + value(2, v); });
        break;
      case Step::kRectify:
        for_vectors([&](int p, int v) { x[p][v] = (Floats)((Bits)x[p][v] & ~(Bits)(x[p][v] <= 0.0f)); });
        break;
      case Step::kParametricRectify:
        for_vectors([&](int p, int v) {
          const Bits bits = (Bits)x[p][v], positive = (Bits)(x[p][v] > 0.0f);
          x[p][v] = (Floats)(bits & positive) + (Floats)(bits & ~positive) * value(0, v);
        });
        break;
      case Step::kPlus:
        values += pixel * next;
        for_vectors([&](int p, int v) { x[p][v] += value(p, v); });
        break;
    }
  }
  for_vectors([&](int p, int v) { store_to(x[p][v], to + (pixel + p) * stride + v * kLength); });
}

template <int Bytes, typename Value>
void tile_steps(const TileStep* steps, int64_t count, int64_t pixels, const Value* from, int64_t from_stride, float* to,
                int64_t stride) {
  constexpr int kPixels = 8 * Bytes / (kLanes * static_cast<int>(sizeof(float)));  // in 8 vectors
  int64_t p = 0;
  for (; p + kPixels <= pixels; p += kPixels) run_steps<Bytes, kPixels>(steps, count, p, from, from_stride, to, stride);
  for (; p < pixels; ++p) run_steps<Bytes, 1>(steps, count, p, from, from_stride, to, stride);
}

template <formulas::Formula formula, int Values>
void step_plane(const float* values, int64_t count, float* x) {
  const float a = Values > 0 ? values[0] : 0, b = Values > 1 ? values[1] : 0, c = Values > 2 ? values[2] : 0;
#pragma omp simd
  for (int64_t p = 0; p < count; ++p) x[p] = formula(x[p], a, b, c);
}

void plus_plane(const float* __restrict addend, int64_t count, float* __restrict x) {
#pragma omp simd
  for (int64_t p = 0; p < count; ++p) x[p] += addend[p];
}

void widen(const int16_t* __restrict from, int64_t from_stride, int64_t pixels, float* __restrict to, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < kLanes; ++c) to[p * stride + c] = from[p * from_stride + c];
  }
}

// Of a product of signs with weights whose sum is `ones` that of ones and zeros; both sums are even or both are not.
inline int32_t product_of_ones(int32_t dot, int32_t ones) { return (dot + ones) >> 1; }

template <bool First, bool Ones>
void add_scaled(const int32_t* __restrict dots, const int32_t* __restrict ones, float scale, int64_t pixels,
                int64_t channels, float* __restrict sums, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      const int32_t dot = dots[p * stride + c];
      const float product = scale * static_cast<float>(Ones ? product_of_ones(dot, ones[c]) : dot);
      sums[p * stride + c] = First ? product : sums[p * stride + c] + product;
    }
  }
}

void add_term(const int32_t* dots, const int32_t* ones, float scale, bool first, int64_t pixels, int64_t channels,
              float* sums, int64_t stride) {
  const auto run = ones ? (first ? add_scaled<true, true> : add_scaled<false, true>)
                        : (first ? add_scaled<true, false> : add_scaled<false, false>);
  run(dots, ones, scale, pixels, channels, sums, stride);
}

template <bool First>
void add_scaled_plane(const float* __restrict inner, const float* __restrict scales, int64_t pixels, int64_t channels,
                      float* __restrict sums, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) {
      const float product = scales[c] * inner[p * stride + c];
      sums[p * stride + c] = First ? product : sums[p * stride + c] + product;
    }
  }
}

void add_plane(const float* inner, const float* scales, bool first, int64_t pixels, int64_t channels, float* sums,
               int64_t stride) {
  (first ? add_scaled_plane<true> : add_scaled_plane<false>)(inner, scales, pixels, channels, sums, stride);
}

void count_ones(const int32_t* __restrict ones, int64_t pixels, int64_t channels, int32_t* __restrict dots,
                int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) dots[p * stride + c] = product_of_ones(dots[p * stride + c], ones[c]);
  }
}

// In vectors, of which the last of a piece may write beyond it what the next pieces write again.
void widen_rows(const int16_t* __restrict from, int64_t stride, int64_t channels, const RowPiece* pieces, int64_t count,
                float* __restrict to, int64_t to_stride) {
  constexpr int64_t kStep = 8;
  const int64_t end = pieces[count - 1].pixel + pieces[count - 1].pixels;
  for (int64_t c = 0; c < channels; ++c, from += stride, to += to_stride) {
    for (int64_t i = 0; i < count; ++i) {
      const int16_t* dots = from + pieces[i].from;
      float* row = to + pieces[i].pixel;
      const int64_t pixels = pieces[i].pixels, room = end - pieces[i].pixel - kStep + 1;
      const int64_t last = room < pixels ? room : pixels;
      int64_t p = 0;
      for (; p < last; p += kStep) {
#pragma omp simd
        for (int64_t j = 0; j < kStep; ++j) row[p + j] = dots[p + j];
      }
      for (; p < pixels; ++p) row[p] = dots[p];
    }
  }
}

void narrow(const int32_t* __restrict from, int64_t from_stride, int64_t channels, int64_t pixels,
            int16_t* __restrict to, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < channels; ++c) to[p * stride + c] = static_cast<int16_t>(from[p * from_stride + c]);
  }
}

void narrow_sum(const int32_t* from, int64_t from_stride, const int16_t* addend, int64_t addend_stride,
                int64_t channels, int64_t pixels, int16_t* to, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p, from += from_stride, addend += addend_stride, to += stride) {
#pragma omp simd
    for (int64_t c = 0; c < channels; ++c) to[c] = static_cast<int16_t>(from[c] + addend[c]);
  }
}

void plus_shorts(const int16_t* __restrict addend, int64_t addend_stride, int64_t channels, int64_t pixels,
                 int32_t* __restrict x, int64_t stride) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < channels; ++c) x[p * stride + c] += addend[p * addend_stride + c];
  }
}

inline float larger(float a, float b) { return a < b ? b : a; }
inline float plus(float a, float b) { return a + b; }

template <float (*combine)(float, float)>
void gather(const float* __restrict from, int64_t from_stride, int64_t first, int64_t from_pixels, int64_t size,
            int64_t step, int64_t pixels, float* __restrict to) {
  for (int64_t p = 0; p < pixels; ++p, to += kLanes) {
    const int64_t begin = p * step - first, end = begin + size;
    for (int64_t k = begin < 0 ? 0 : begin; k < (end < from_pixels ? end : from_pixels); ++k) {
      const float* row = from + k * from_stride;
#pragma omp simd
      for (int64_t c = 0; c < kLanes; ++c) to[c] = combine(to[c], row[c]);
    }
  }
}

void copy_every(const float* __restrict from, int64_t step, int64_t count, float* __restrict to) {
  if (step == 1) {
    std::memcpy(to, from, count * sizeof(float));
  } else if (step == 2) {  // a constant, which compilers know how to load
    for (int64_t i = 0; i < count; ++i) to[i] = from[2 * i];
  } else {
    for (int64_t i = 0; i < count; ++i) to[i] = from[step * i];
  }
}

// A sum with either sign of alpha is the same number as the difference.
template <typename Vectors>
void subtract_and_add_up(float alpha, int64_t pixels, int64_t stride, float* values, double* sums) {
  constexpr int kBytes = Vectors::kBytes, kDoubles = kBytes / 8;
  constexpr int kVectors = kBytes == 64 ? 4 : 8;  // of sums, which stay in registers
  typedef typename VectorOf<float, kBytes>::Type Floats;
  typedef typename VectorOf<int32_t, kBytes>::Type Bits;
  typedef typename VectorOf<float, kBytes / 2>::Type Half;
  typedef typename VectorOf<double, kBytes>::Type Doubles;
  static_assert(kResidualBlock % (kVectors * kDoubles) == 0, "");
  const Bits scale = (Bits)(Floats{} + alpha), size = Bits{} + 0x7fffffff;
  for (int64_t first = 0; first < kResidualBlock; first += kVectors * kDoubles) {
    Doubles totals[kVectors];
    for (int v = 0; v < kVectors; ++v) totals[v] = load_from<Doubles>(sums + first + v * kDoubles);
    float* x = values + first;
    for (int64_t p = 0; p < pixels; ++p, x += stride) {
      for (int v = 0; v < kVectors; v += 2) {
        const Floats old = load_from<Floats>(x + v * kDoubles);
        const Floats difference = old + (Floats)(scale ^ ((Bits)(old >= 0.0f) & ~size));
        store_to(difference, x + v * kDoubles);
        const Bits magnitudes = (Bits)difference & size;
        Half halves[2];
        std::memcpy(halves, &magnitudes, sizeof halves);
        for (int i = 0; i < 2; ++i) totals[v + i] += Vectors::to_doubles(halves[i]);
      }
    }
    for (int v = 0; v < kVectors; ++v) store_to(totals[v], sums + first + v * kDoubles);
  }
}

template <typename Value>
void multiply_all(const Value* x, Value by, int64_t length, Value* out) {
  for (int64_t i = 0; i < length; ++i) out[i] = x[i] * by;
}

template <typename Value>
void multiply_all_below(const Value* x, const Value* factor, Value by, int64_t length, Value* out) {
  for (int64_t i = 0; i < length; ++i) out[i] = formulas::multiply_below(x[i], factor[i], by);
}

// Sums i of the products i, i + kSums, i + 2 * kSums ..., each half of which is added to the other until there is one;
// then the products behind the last multiple of kSums in their order.
template <typename Value, int Bytes, bool Below>
Value add_up_products(const Value* x, const Value* gradient, int64_t length) {
  typedef typename VectorOf<Value, Bytes>::Type Values;
  typedef decltype(Values{} > Values{}) Mask;
  constexpr int kSums = 64 / sizeof(Value), kLength = Bytes / sizeof(Value), kVectors = kSums / kLength;
  Values totals[kVectors] = {};
  int64_t i = 0;
  for (; i + kSums <= length; i += kSums) {
    for (int v = 0; v < kVectors; ++v) {
      Values factor = load_from<Values>(x + i + v * kLength);
      if (Below) factor = (Values)((Mask)factor & ~(Mask)(factor > 0));
      totals[v] += factor * load_from<Values>(gradient + i + v * kLength);
    }
  }
  Value sums[kSums];
  std::memcpy(sums, totals, sizeof sums);
  for (int half = kSums / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) sums[j] += sums[j + half];
  }
  for (; i < length; ++i) sums[0] += (Below && x[i] > 0 ? Value{0} : x[i]) * gradient[i];
  return sums[0];
}

template <typename Value, int Bytes>
Value sum_products(const Value* x, const Value* gradient, bool below, int64_t length) {
  return (below ? add_up_products<Value, Bytes, true> : add_up_products<Value, Bytes, false>)(x, gradient, length);
}

inline void limit_floats(const float* t, const float* d, int64_t channels, float* threshold, bool* flip) {
  constexpr uint32_t infinity = 0x7f800000, minus = 0x80000000;
  for (int64_t c = 0; c < channels; ++c) {
    uint32_t bits;
    std::memcpy(&bits, t + c, sizeof bits);
    // x <= t is not (x >= the next number); the one after infinity is a NaN, and nothing is >= NaN
    uint32_t next = bits > minus ? bits - 1 : (bits & ~minus) + 1;
    next = (bits & ~minus) > infinity ? infinity | minus : next;  // x <= NaN: never
    flip[c] = d[c] < 0;
    bits = d[c] < 0 ? next : bits;
    std::memcpy(threshold + c, &bits, sizeof bits);
  }
}

inline void limit_shorts(const float* t, const float* d, int64_t channels, int16_t* threshold, bool* flip) {
  constexpr int32_t least = INT16_MIN, most = INT16_MAX;
  for (int64_t c = 0; c < channels; ++c) {
    const bool below = d[c] < 0;
    // a NaN decides as a threshold that is never reached
    const float bound = !(t[c] == t[c]) ? (below ? least - 1 : most + 1) : t[c];
    const float above = bound < least - 1 ? least - 1 : bound, clamped = above > most + 1 ? most + 1 : above;
    const int32_t whole = static_cast<int32_t>(clamped);
    const int32_t from = below ? whole + 1 - (whole > clamped) : whole + (whole < clamped);  // x >= from, or not
    threshold[c] = static_cast<int16_t>(from > most || from < least ? least : from);
    flip[c] = (from > most) != below;
  }
}

template <typename Value, int Bytes>
constexpr ChannelProducts<Value> channel_products() {
  return {multiply_all<Value>, multiply_all_below<Value>, sum_products<Value, Bytes>};
}

// Those that every x86-64 and AArch64 has.
struct Plain {
  static constexpr int kBytes = 16;
  typedef Square4 Square;
  typedef VectorOf<double, kBytes>::Type Doubles;

  static Doubles to_doubles(VectorOf<float, kBytes / 2>::Type floats) {
    return __builtin_convertvector(floats, Doubles);
  }
};

template <typename Vectors>
constexpr Elementwise elementwise() {
  constexpr int kBytes = Vectors::kBytes;
  return {tile_steps<kBytes, float>,
          tile_steps<kBytes, int32_t>,
          {step_plane<formulas::multiply, 1>, step_plane<formulas::add, 1>, step_plane<formulas::normalize, 3>,
           step_plane<formulas::rectify, 0>, step_plane<formulas::parametric_rectify, 1>},
          plus_plane,
          widen,
          add_term,
          add_plane,
          count_ones,
          widen_rows,
          narrow,
          narrow_sum,
          plus_shorts,
          gather<larger>,
          gather<plus>,
          copy_every,
          transpose<typename Vectors::Square>,
          transpose_shorts,
          limit_floats,
          limit_shorts,
          subtract_and_add_up<Vectors>,
          channel_products<float, kBytes>(),
          channel_products<double, kBytes>()};
}

}  // namespace
}  // namespace bmx

#endif  // BMX_ELEMENTWISE_LOOPS_H_
