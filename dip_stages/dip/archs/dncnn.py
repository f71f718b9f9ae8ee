"""DnCNN, used as an untrained generator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from dip_stages.dip.archs.layers import ToImage, conv, norm

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["DnCNN"]


class DnCNN(nn.Module):
    """Zhang et al., 2017 (arXiv 1608.03981): a stack of 3×3 convolutions with batch normalisation and ReLU.

    The published network subtracts its output from a noisy image. A DIP network is fed noise and has no image to
    subtract from, so here the last convolution outputs the image itself, through a sigmoid.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the image, 1 or 3.
        size: Height and width of the image; any, the network does not depend on it.
        width: Channels of every layer; published: 64.
        depth: Number of convolutions, >= 3; published: 17.
    """

    def __init__(
        self, in_channels: int, out_channels: int, size: tuple[int, int], *, width: int = 64, depth: int = 17
    ) -> None:
        del size
        super().__init__()
        layers: list[nn.Module] = [conv(in_channels, width), nn.ReLU(inplace=True)]
        for _ in range(depth - 2):
            layers += [conv(width, width), norm(width), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.to_image = ToImage(width, out_channels, kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image of ``x``: ``(1, in_channels, H, W)`` to ``(1, out_channels, H, W)``."""
        image: Tensor = self.to_image(self.body(x))
        return image
