// The orientation that a camera notes.
#ifndef BMX_RUN_EXIF_H_
#define BMX_RUN_EXIF_H_

#include "images.h"

namespace bmx_run {

// The orientation that EXIF, with or without its "Exif\0\0", notes, 1 to 8; 1, upright, where it notes none, or is
// damaged. bmx/io/images.py reads the same.
int exif_orientation(Bytes exif);

// Turns and mirrors an image, so that it is upright.
void make_upright(Image* image, int orientation);

}  // namespace bmx_run

#endif  // BMX_RUN_EXIF_H_
