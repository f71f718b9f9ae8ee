"""A residual network at full resolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from dip_stages.dip.archs.layers import ConvNorm, ToImage, conv, norm

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ResNet"]


class ResidualBlock(nn.Module):
    """Two convolutions whose result is added to their input (He et al., 2016, arXiv 1512.03385)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvNorm(width, width), conv(width, width), norm(width))

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.body(x)
        return added


class ResNet(nn.Module):
    """The ResNet that Ulyanov et al., 2018, compare with their hourglass: a head, residual blocks, a tail.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the image, 1 or 3.
        size: Height and width of the image; any, the network does not depend on it.
        width: Channels of every block.
        blocks: Number of residual blocks, >= 1.
    """

    def __init__(
        self, in_channels: int, out_channels: int, size: tuple[int, int], *, width: int = 64, blocks: int = 8
    ) -> None:
        del size
        super().__init__()
        self.body = nn.Sequential(ConvNorm(in_channels, width), *(ResidualBlock(width) for _ in range(blocks)))
        self.to_image = ToImage(width, out_channels, kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image of ``x``: ``(1, in_channels, H, W)`` to ``(1, out_channels, H, W)``."""
        image: Tensor = self.to_image(self.body(x))
        return image
