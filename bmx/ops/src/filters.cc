#include "filters.h"

#include "error.h"

namespace bmx {

void Filters::parse(Reader* reader) {
  reader->window(&window);
  reader->size("dilate", 1, &window.dilate);
  reader->require("filters");
  reader->integer("filters", 1, &filters);
  reader->integer("groups", 1, &groups);
  reader->flag("whole", &whole);
  if (filters % groups) fail("groups must divide filters, got groups ", groups, " and filters ", filters);
}

int64_t Filters::group_channels(const Inference& inference) const {
  if (inference.channels % groups) fail("groups ", groups, " do not divide the ", inference.channels, " channels");
  return inference.channels / groups;
}

Size Filters::out(const Inference& inference, int64_t values) const {
  if (whole && !(window.size == inference.image)) {
    fail("a dense layer on images of ", text(window.size), " pixels got one of ", text(inference.image));
  }
  return inference.slide(window, values);
}

}  // namespace bmx
