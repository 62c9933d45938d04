// Binary convolutions whose groups have few channels: a word for every group and tap would be mostly empty. The
// channels of a pixel are packed without gaps, brought to indices of look-ups, a byte a pixel (small_groups.h derives
// them), and multiplied for adjacent pixels at once.
#ifndef BMX_GROUPED_H_
#define BMX_GROUPED_H_

#include <cstdint>
#include <vector>

#include "convolution.h"

namespace bmx {

// Is GroupedConvolutionTask faster than ConvolutionTask?
bool has_small_groups(const Convolution& conv, const Kernel& kernel);

Memory grouped_memory(const Convolution& conv, const Kernel& kernel);

// How a convolution's products are cut into look-ups. An index holds channels of one pixel, or where a group has fewer
// than three of them, of several taps of a row of the window.
struct LookupPlan {
  int64_t taps;            // in an index
  int64_t columns;         // indices for a row of the window
  int64_t nibbles;         // indices for a tap of a group
  int64_t lookups;         // of a filter
  int64_t field_channels;  // as Spread takes them; 0: groups do not begin where fields do
  int64_t rows, stride;    // of indices, a byte for every padded pixel

  explicit LookupPlan(const Convolution& conv);
};

class GroupedConvolutionTask : public Task {
 public:
  // As ConvolutionTask's.
  GroupedConvolutionTask(const Convolution& conv, const Binding& binding);

  void run(int64_t image) const override;

 private:
  // Where the weights of a look-up are in a filter's bytes.
  struct Source {
    int64_t byte, taps;
    int bits, shift, used;  // bits of each tap; `used`: that many ones
  };
  struct Unit;  // kPositions positions and up to kFilterTile filters, which a thread computes at once

  void prepare_weights() const;
  uint16_t entry(const Source& source, const uint8_t* filter) const;
  void spread_words() const;
  void spread_row(int64_t row, int64_t begin, int64_t end) const;
  void compute(const Unit& unit) const;
  std::vector<RowPiece> pieces(const Unit& unit) const;
  void finish_tile(const Unit& unit, std::vector<RowPiece> pieces, int16_t* tile) const;

  Convolution conv_;
  LookupPlan plan_;
  const Kernel& kernel_;
  Packer packer_;
  const uint8_t* weight_;
  std::vector<Step> steps_;
  Slice out_;
  uint64_t* words_;
  uint8_t* indices_;
  uint16_t* entries_;
  std::vector<int64_t> offsets_;  // of the look-ups
  std::vector<Source> sources_;
  std::vector<int32_t> sums_;
};

}  // namespace bmx

#endif  // BMX_GROUPED_H_
