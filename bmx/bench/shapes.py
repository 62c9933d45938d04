"""Shapes of convolutions on which kernels and layers are measured."""
import collections


class Shape(collections.namedtuple('Shape', 'channels filters size kernel')):
    """A square convolution with stride 1 whose output has the size of its input."""

    @property
    def macs(self):
        """Multiply-accumulates for one image."""
        return self.size ** 2 * self.filters * self.channels * self.kernel ** 2

    @property
    def pad(self):
        return self.kernel // 2

    def __str__(self):
        return '%dx%d %d->%d %dx%d' % (self.kernel, self.kernel, self.channels, self.filters, self.size, self.size)


# All occur in MeliusNets at 224x224: the binary 3x3 convolutions in C, the last one in 59; the 1x1 convolutions, which
# are float there, in the transitions of 22.
SHAPES = [Shape(*row) for row in (
    (64, 64, 56, 3), (128, 64, 56, 3), (256, 64, 56, 3), (256, 64, 28, 3), (448, 64, 28, 3), (512, 64, 14, 3),
    (832, 64, 14, 3), (480, 64, 7, 3), (672, 64, 7, 3), (1856, 64, 14, 3),
    (320, 160, 28, 1), (480, 224, 14, 1), (480, 256, 7, 1))]
