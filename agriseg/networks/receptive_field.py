"""How far a network looks, by arithmetic.

An output cell at input pixel `stride * index` sees the input pixels from `left` pixels before it to `right` pixels
after it. Each layer adds its kernel times the stride at its input.
Source: Araujo, Norris and Sim 2019, "Computing Receptive Fields of Convolutional Neural Networks",
doi 10.23915/distill.00021.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class ReceptiveField:
    """What one output cell sees of an input axis, in input pixels; `whole`: of all of it, however long."""

    stride: int = 1
    left: int = 0
    right: int = 0
    whole: bool = False

    def conv(self, kernel: int, stride: int = 1, dilation: int = 1) -> "ReceptiveField":
        """After a convolution or pooling with the usual padding of half the dilated kernel."""
        wide = dilation * (kernel - 1)
        padding = wide // 2
        left, right = self.left + padding * self.stride, self.right + (wide - padding) * self.stride
        return replace(self, stride=self.stride * stride, left=left, right=right)

    def conv_same(self, kernel: int, stride: int = 1) -> "ReceptiveField":
        """After a convolution with TensorFlow's `SAME` padding of an input whose side the stride divides."""
        before = (kernel - stride) // 2
        left, right = self.left + before * self.stride, self.right + (kernel - 1 - before) * self.stride
        return replace(self, stride=self.stride * stride, left=left, right=right)

    def convs(self, count: int, kernel: int, dilation: int = 1) -> "ReceptiveField":
        """After `count` equal convolutions of stride 1."""
        reach = self
        for _ in range(count):
            reach = reach.conv(kernel, dilation=dilation)
        return reach

    def double(self) -> "ReceptiveField":
        """After a transposed convolution of kernel 4, stride 2, padding 1: two cells make each output."""
        half = self.stride // 2
        return replace(self, stride=half, left=self.left + self.stride, right=self.right + half)

    def unpool(self) -> "ReceptiveField":
        """After an unpooling by 2: one cell makes each output."""
        half = self.stride // 2
        return replace(self, stride=half, left=self.left + half)

    def pool_all(self) -> "ReceptiveField":
        """After a mean over everything."""
        return replace(self, whole=True)

    def over_means(self, factor: int) -> "ReceptiveField":
        """Where each pixel of the input is a mean of `factor` x `factor` pixels."""
        return ReceptiveField(self.stride * factor, self.left * factor, self.right * factor + factor - 1, self.whole)

    @property
    def halo(self) -> int | None:
        """Receptive half-width: the least margin, a multiple of the stride, that hides a tile's edges.

        None where no margin does.
        """
        if self.whole:
            return None
        needed = max(self.left, self.right - self.stride + 1)
        return -(-needed // self.stride) * self.stride
