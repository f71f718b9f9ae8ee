"""Observations: a clean image, its noisy observation, and the noise level."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from dip_stages.dip.noise import ObservationStream, corrupted, estimate_sigma, generator
from dip_stages.errors import ImageError, check_range

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    Noise = Callable[..., Tensor]

__all__ = ["Observation", "build_sigma", "observe", "to_array", "to_tensor"]


@dataclass(frozen=True)
class Observation:
    """A noisy image and the clean image that it was made from.

    Attributes:
        clean: ``(1, C, H, W)`` in [0, 1].
        observed: The same shape, not limited to [0, 1].
        beta_max: Noise variance on the [0, 1] scale, on average over the image.
    """

    clean: Tensor
    observed: Tensor
    beta_max: float

    @property
    def sigma(self) -> float:
        """The noise's standard deviation on the [0, 1] scale; 25/255 where the literature says "sigma 25"."""
        return math.sqrt(self.beta_max)


def observe(
    image: NDArray[np.float32], *, beta_max: float, noise_seed: int, noise: str | Noise = "gaussian"
) -> Observation:
    """Add seeded noise to an image.

    The draws depend on the image and the seed only, not on the method: every method has the same noise, and differences
    between methods are paired. ``beta_max`` scales the same draws, except for ``poisson``.

    Args:
        image: ``(H, W, C)`` float32 in [0, 1].
        beta_max: Noise variance, in (0, 1).
        noise_seed: >= 0.
        noise: One of :data:`dip_stages.dip.noise.NOISES`, or a function of clean image, variance and generator.

    Raises:
        ConfigError: If the noise is unknown or its variance out of range.
        ImageError: If the image is black and the noise is ``poisson`` or ``speckle``, or what a function returns is no
            such image.
    """
    check_range("noise.beta_max", beta_max, above=0, below=1)
    clean = to_tensor(image)
    fingerprint = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:8], "big")
    draws = generator(noise_seed, ObservationStream.OBSERVATION, fingerprint)
    if isinstance(noise, str):
        return Observation(clean, corrupted(noise, clean, beta_max, draws), beta_max)
    observed = noise(clean=clean, beta_max=beta_max, generator=draws)
    if not isinstance(observed, torch.Tensor) or observed.shape != clean.shape or not observed.isfinite().all():
        shape = tuple(getattr(observed, "shape", ()))
        raise ImageError(
            f"the noise returned {type(observed).__name__} {shape}", allowed=f"finite {tuple(clean.shape)}"
        )
    return Observation(clean, observed.float(), beta_max)


def to_tensor(image: NDArray[np.float32]) -> Tensor:
    """Return ``(H, W, C)`` as ``(1, C, H, W)``."""
    return torch.from_numpy(image).permute(2, 0, 1).unsqueeze(0).contiguous()


def to_array(image: Tensor) -> NDArray[np.float32]:
    """Return ``(1, C, H, W)`` as ``(H, W, C)`` on the CPU."""
    array: NDArray[np.float32] = image.detach()[0].permute(1, 2, 0).float().cpu().numpy()
    return array


def build_sigma(source: str, observation: Observation) -> float:
    """Return the standard deviation of the noise that a method is given, on the [0, 1] scale.

    Args:
        source: ``known``: that of the observation; ``estimate``: estimated from the observed image alone.
        observation: Its clean image is not used.
    """
    if source == "known":
        return observation.sigma
    return estimate_sigma(to_array(observation.observed))
