"""How a network is fitted, in every plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

__all__ = ["FitSettings"]


@dataclass(frozen=True)
class FitSettings:
    """Settings of the fit; the defaults are those of Ulyanov et al., 2018, except for precision and layout.

    Attributes:
        lr: Learning rate of Adam.
        jitter: Standard deviation of the noise added to the input at each iteration.
        input_channels: Channels of a fixed noise input.
        input_scale: The noise input is uniform on [0, ``input_scale``).
        penalty: Weight of the distance between output and input, for :class:`~dip_stages.dip.methods.AseqDIP` alone.
        refresh: Iterations after which that method feeds its output back.
        carry: The image that the next stage is fed: ``output``, the raw one, or ``average``.
        bfloat16: Whether the network runs under bfloat16 autocast.
        channels_last: Whether tensors are laid out with the channels last.
        cuda_graphs: Whether a GPU's iterations are captured as a CUDA graph; other devices ignore it.
        jump_db: Rise of the loss, in dB, that counts as a jump and is rolled back.
        attempts: Rollbacks in a row before the fit fails.
        optimizer: Makes the optimiser of ``params``, ``lr`` and ``capturable``, if it takes it; None for Adam.
    """

    lr: float = 0.01
    jitter: float = 1 / 30
    input_channels: int = 32
    input_scale: float = 0.1
    carry: str = "output"
    penalty: float = 1.0
    refresh: int = 2
    bfloat16: bool = False
    channels_last: bool = True
    cuda_graphs: bool = True
    jump_db: float = 5.0
    attempts: int = 5
    optimizer: Callable[..., torch.optim.Optimizer] | None = None
