"""This project's U-Net: the hourglass of Deep Image Prior, with skip connections."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from dip_stages.dip.archs.layers import ConvNorm, Padding, ToImage, norm

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["UNet", "usable_scales"]


def usable_scales(scales: int, height: int, width: int) -> int:
    """Return how many halvings leave at least 2 pixels: batch normalisation needs more than one value a channel.

    Example:
        >>> usable_scales(5, 128, 128), usable_scales(5, 17, 64)
        (5, 3)
    """
    return max(1, min(scales, min(height, width).bit_length() - 2))


class UNet(nn.Module):
    """Encoder and decoder of Ulyanov et al., 2018 (arXiv 1711.10925, supplement), with their option names spelled out.

    Each scale halves the size by a strided convolution and doubles it again by upsampling; a skip connection of a few
    channels joins the two. An image whose size is no multiple of ``2**scales`` is padded by reflection and the output
    is cropped; a small image uses fewer scales, see :func:`usable_scales`.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the image, 1 or 3.
        size: Height and width of the image in pixels, each >= 16; it caps the depth.
        width: Channels of every scale; the published denoising network has 128.
        scales: Number of halvings, >= 1; published: 5.
        skip_channels: Channels of a skip connection; 0 for none; published: 4.
        padding_mode: ``reflect`` (published) or ``zeros``.
        upsampling: ``bilinear`` (published) or ``nearest``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: tuple[int, int],
        *,
        width: int = 128,
        scales: int = 5,
        skip_channels: int = 4,
        padding_mode: Padding = "reflect",
        upsampling: str = "bilinear",
    ) -> None:
        super().__init__()
        self.scales = usable_scales(scales, *size)
        self.upsampling = upsampling
        widths = [in_channels, *[width] * self.scales]
        self.down = nn.ModuleList(
            nn.Sequential(
                ConvNorm(above, below, stride=2, padding_mode=padding_mode),
                ConvNorm(below, below, padding_mode=padding_mode),
            )
            for above, below in pairwise(widths)
        )
        self.skip = nn.ModuleList(ConvNorm(above, skip_channels, 1) for above in widths[:-1] if skip_channels)
        self.merge = nn.ModuleList(norm(width + skip_channels) for _ in range(self.scales))
        self.up = nn.ModuleList(
            nn.Sequential(
                ConvNorm(width + skip_channels, width, padding_mode=padding_mode),
                ConvNorm(width, width, 1),
            )
            for _ in range(self.scales)
        )
        self.to_image = ToImage(width, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return the image of ``x``: ``(1, in_channels, H, W)`` to ``(1, out_channels, H, W)``."""
        height, width = x.shape[-2:]
        x = _pad_to_multiple(x, 2**self.scales)
        skips = []
        for scale, down in enumerate(self.down):
            skips.append(self.skip[scale](x) if self.skip else None)
            x = down(x)
        for scale in reversed(range(self.scales)):
            x = F.interpolate(x, scale_factor=2, mode=self.upsampling)
            skip = skips[scale]
            x = x if skip is None else torch.cat([x, skip], dim=1)
            x = self.up[scale](self.merge[scale](x))
        image: Tensor = self.to_image(x)
        return image[..., :height, :width]


def _pad_to_multiple(x: Tensor, multiple: int) -> Tensor:
    height, width = x.shape[-2:]
    pad = (0, -width % multiple, 0, -height % multiple)
    return F.pad(x, pad, mode="reflect") if any(pad) else x
