"""Floating-point operations of a cell, computed from its configuration. Torch-free.

Convolutions are counted, as torch's ``FlopCounterMode`` counts them: a multiplication and its addition are two
operations, and the backward pass costs as much for the gradient of the input, and again for that of the weights, where
these are needed. The rest of a fit is small in comparison.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dip_stages.cells.identity import image_shape
from dip_stages.config import ArchConfig, Config, PerceptualConfig
from dip_stages.config.arch import DnCNNConfig, ResNetConfig, UNetConfig
from dip_stages.dip.inputs import input_channels

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["flops", "iteration_flops"]

_VGG16 = (64, 64, "pool", 128, 128, "pool", 256, 256, 256, "pool", 512, 512, 512)


@dataclass(frozen=True)
class _Conv:
    """A convolution: its output's pixels, its channels, its kernel's side, and whether it is the network's first."""

    pixels: int
    inputs: int
    outputs: int
    kernel: int = 3
    first: bool = False

    @property
    def forward(self) -> int:
        return 2 * self.pixels * self.inputs * self.outputs * self.kernel**2

    @property
    def both(self) -> int:
        """Forward and backward; the gradient of the network's input is not computed."""
        return self.forward * (2 if self.first else 3)


def flops(config: Config) -> float:
    """Return the floating-point operations of all iterations, forward and backward; 0 for a competitor.

    Raises:
        ImageError: If the image cannot be read; the operations depend on its size.
    """
    shape = image_shape(config.data)
    if config.competitor:
        return 0.0
    total = config.iterations * iteration_flops(config, shape)
    if _perceptual(config):
        # The features of each stage's target are computed once.
        targets = config.ensemble.members * sum(1 for budget in config.stage_numbers()[1] if budget)
        total += targets * _vgg16(*shape[:2])
    return float(total)


def iteration_flops(config: Config, shape: tuple[int, int, int]) -> int:
    """Return the operations of one iteration on an image of that height, width and channels."""
    inputs = input_channels(config.net_input, config.fit.input_channels, shape[2])
    # VGG16 is frozen: its backward pass makes the gradient of the inputs, not that of the weights.
    return _network(config.arch, inputs, shape) + (2 * _vgg16(*shape[:2]) if _perceptual(config) else 0)


def _perceptual(config: Config) -> bool:
    return config.staged and isinstance(config.loss, PerceptualConfig)


@functools.cache
def _network(arch: ArchConfig, inputs: int, shape: tuple[int, int, int]) -> int:
    convolutions = _CONVOLUTIONS.get(type(arch))
    return sum(conv.both for conv in convolutions(arch, inputs, *shape)) if convolutions else 0


def _dncnn(arch: DnCNNConfig, inputs: int, height: int, width: int, channels: int) -> list[_Conv]:
    return _stack(arch.width, arch.depth - 2, inputs, height * width, channels)


def _resnet(arch: ResNetConfig, inputs: int, height: int, width: int, channels: int) -> list[_Conv]:
    return _stack(arch.width, 2 * arch.blocks, inputs, height * width, channels)


def _stack(features: int, hidden: int, inputs: int, pixels: int, channels: int) -> list[_Conv]:
    first, last = _Conv(pixels, inputs, features, first=True), _Conv(pixels, features, channels)
    return [first, *[_Conv(pixels, features, features)] * hidden, last]


def _unet(arch: UNetConfig, inputs: int, height: int, width: int, channels: int) -> list[_Conv]:
    # As `usable_scales` of the network, whose module imports torch.
    scales = max(1, min(arch.scales, min(height, width).bit_length() - 2))
    height, width = height + -height % 2**scales, width + -width % 2**scales
    convs = [_Conv(height * width, arch.width, channels, 1)]
    for scale in range(scales):
        fine = (height >> scale) * (width >> scale)
        above, first = (arch.width, False) if scale else (inputs, True)
        convs += [_Conv(fine // 4, above, arch.width, first=first), _Conv(fine // 4, arch.width, arch.width)]
        convs += [_Conv(fine, arch.width + arch.skip_channels, arch.width), _Conv(fine, arch.width, arch.width, 1)]
        convs += [_Conv(fine, above, arch.skip_channels, 1, first=first)]
    return convs


_CONVOLUTIONS: dict[type, Callable[..., list[_Conv]]] = {
    UNetConfig: _unet,
    DnCNNConfig: _dncnn,
    ResNetConfig: _resnet,
}
"""Functions of each network's settings, its input's channels, and the image's height, width and channels.

A network that is missing here runs, but its operations are given as 0.
"""


@functools.cache
def _vgg16(height: int, width: int) -> int:
    """Return the operations of the features of an image, forward."""
    total, channels = 0, 3
    for layer in _VGG16:
        if isinstance(layer, int):
            total += _Conv(height * width, channels, layer).forward
            channels = layer
        else:
            height, width = height // 2, width // 2
    return total
