"""Shapes of convolutions on which kernels and layers are measured."""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Shape:
    """A square convolution, padded by half of its kernel, on a square image of that size."""
    channels: int
    filters: int
    size: int
    kernel: int
    groups: int = 1
    stride: int = 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return self.out ** 2 * self.filters * self.channels // self.groups * self.kernel ** 2

    @property
    def out(self) -> int:
        """Height and width of the result."""
        return (self.size - 1) // self.stride + 1

    @property
    def pad(self) -> int:
        return self.kernel // 2

    def __str__(self) -> str:
        text = f'{self.kernel}x{self.kernel} {self.channels}->{self.filters} {self.out}x{self.out}'
        return text if self.groups == 1 else f'{text} groups of {self.channels // self.groups}'


# All occur in MeliusNets at 224x224: the binary 3x3 convolutions in C, the last one in 59; the 1x1 convolutions, which
# are float there, in the transitions of 22.
SHAPES = [Shape(*row) for row in (
    (64, 64, 56, 3), (128, 64, 56, 3), (256, 64, 56, 3), (256, 64, 28, 3), (448, 64, 28, 3), (512, 64, 14, 3),
    (832, 64, 14, 3), (480, 64, 7, 3), (672, 64, 7, 3), (1856, 64, 14, 3),
    (320, 160, 28, 1), (480, 224, 14, 1), (480, 256, 7, 1))]

# Bits of weights and activations, as of HWGQ, DoReFa-Net and ABC-Net, in ResNet-18 at 224x224.
BITS = ((1, 2), (2, 2), (3, 5))
BIT_SHAPES = [Shape(*row) for row in ((64, 64, 56, 3), (128, 128, 28, 3), (256, 256, 14, 3), (512, 512, 7, 3))]

# Of MoBiNets at 224x224, whose groups have 2^K channels.
GROUPED_SHAPES = [Shape(channels, channels, size, 3, channels // group)
                  for channels, size in ((32, 112), (128, 56), (512, 14), (1024, 7)) for group in (1, 2, 4, 8, 16)]

# Float convolutions at 224x224: the grouped and the 7x7 stem, transitions of MeliusNet-22 and -C, downsampling in
# ResNetE.
FLOAT_SHAPES = [Shape(*row) for row in (
    (3, 32, 224, 3, 1, 2), (32, 32, 112, 3, 4), (32, 64, 112, 3, 8), (3, 64, 224, 7, 1, 2),
    (320, 160, 28, 1), (480, 224, 14, 1), (480, 256, 7, 1),
    (256, 128, 28, 1, 4), (448, 192, 14, 1, 4), (832, 288, 7, 1, 4),
    (64, 128, 28, 1), (128, 256, 14, 1), (256, 512, 7, 1))]
