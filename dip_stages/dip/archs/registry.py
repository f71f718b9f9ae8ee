"""Untrained networks: each a plain ``nn.Module`` from ``(1, C_in, H, W)`` to an image ``(1, C, H, W)`` in [0, 1].

Any height and width from 16 up. To add one: write its module here, name it in :data:`ARCHS`, give it a schema in
:mod:`dip_stages.config.arch` and a file in ``conf/arch/``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from dip_stages.dip.archs.dncnn import DnCNN
from dip_stages.dip.archs.resnet import ResNet
from dip_stages.dip.archs.unet import UNet
from dip_stages.dip.noise import DrawingFrom

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ARCHS", "seeded"]

ARCHS: dict[str, type[torch.nn.Module]] = {"unet": UNet, "dncnn": DnCNN, "resnet": ResNet}


def seeded(network: Callable[..., torch.nn.Module], generator: torch.Generator, **settings: object) -> torch.nn.Module:
    """Build a network whose initial weights depend on ``generator`` alone; global random state is not used.

    Args:
        network: Its class.
        generator: Drawn from once, for the seed of PyTorch's own initialisation.
        settings: Constructor arguments of the network.
    """
    seed = int(torch.randint(2**62, (1,), generator=generator))
    with DrawingFrom(torch.Generator().manual_seed(seed)):
        return network(**settings)
