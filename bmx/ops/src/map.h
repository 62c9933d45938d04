// Elementwise steps and pooling of features.
#ifndef BMX_MAP_H_
#define BMX_MAP_H_

#include <cstdint>
#include <vector>

#include "feature.h"
#include "task.h"
#include "tile.h"

namespace bmx {

// Concatenates, applies steps, pools, applies steps, shuffles.
struct Map {
  Size image;
  Pool pool;
  Window window;   // of the pooling, of what is in the image
  int64_t groups;  // of the shuffle: channel i of group j becomes channel i * groups + j; planar results only
  bool count_pad;  // padding counts in the divisor of an average

  Size out() const { return pool == Pool::kNone ? image : window.out(image); }
  // Memory that a thread works in.
  int64_t thread_bytes() const;
};

class MapTask : public Task {
 public:
  // Without pooling there is nothing in `before`.
  MapTask(const Map& map, const Binding& binding);

  void run(int64_t image) const override;

 private:
  // Up to kLanes channels of one source.
  struct Block {
    Slice source;
    int64_t channel, channels;  // of the source
    int64_t out_channel;        // before the shuffle: the one that steps count
    Slice out;                  // where the block goes
  };

  void transform(const Block& block, int64_t image, int64_t pixel, int64_t pixels) const;
  void pool(const Block& block, int64_t image, int64_t pixel, int64_t pixels) const;
  void load_block(const Block& block, const Tile& tile) const;
  void store_block(const Tile& tile, const Block& block) const;

  Map map_;
  const Kernel& kernel_;
  std::vector<Block> blocks_;
  std::vector<Step> before_, steps_;
  char* threads_;
};

}  // namespace bmx

#endif  // BMX_MAP_H_
