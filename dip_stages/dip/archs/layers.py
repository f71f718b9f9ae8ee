"""Layers that the networks share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ConvNorm", "Padding", "ToImage", "conv", "norm"]

Padding = Literal["reflect", "zeros"]


def conv(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, padding_mode: Padding = "reflect"
) -> nn.Conv2d:
    """Return a convolution that keeps the size (at stride 1), by default padded by reflection."""
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, padding_mode=padding_mode)


def norm(width: int) -> nn.BatchNorm2d:
    """Return a batch normalisation that uses the present image's statistics only and stores none."""
    return nn.BatchNorm2d(width, track_running_stats=False)


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation, LeakyReLU(0.2), as in Ulyanov et al., 2018."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, padding_mode: Padding = "reflect"
    ) -> None:
        super().__init__(
            conv(inputs, outputs, kernel, stride=stride, padding_mode=padding_mode),
            norm(outputs),
            nn.LeakyReLU(0.2, inplace=True),
        )


class ToImage(nn.Module):
    """A convolution to the image's channels and a sigmoid in float32: an image needs more than bfloat16's 8 bits."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1) -> None:
        super().__init__()
        self.conv = conv(inputs, outputs, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(1, outputs, H, W)`` in [0, 1], float32."""
        image: Tensor = self.conv(x)
        return image.float().sigmoid()
