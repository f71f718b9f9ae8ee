"""Seeded noise: every draw has a named stream of its own, independent of global random state."""

from __future__ import annotations

import math
import warnings
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from dip_stages.errors import ImageError, check_choice

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "NOISES",
    "DrawingFrom",
    "FitStream",
    "ObservationStream",
    "corrupted",
    "estimate_sigma",
    "generator",
    "noised",
    "spawned",
    "standard_normal",
]

NOISES = ("gaussian", "clipped", "poisson", "speckle")
"""The kinds of noise of an observation; see :func:`corrupted`."""


class ObservationStream(IntEnum):
    """Streams of ``noise_seed``, which every method shares. Another value is another draw: other numbers."""

    OBSERVATION = 1
    """The noise of the observed image; the image's hash is the second number of the stream."""
    STAGE = 2
    """The noise of the stages' targets; the stage is the second number."""


class FitStream(IntEnum):
    """Streams of ``seed``, that of a fit or of a competitor. Another value is another draw: other numbers."""

    NETWORK = 0
    INPUT = 1
    JITTER = 2
    PROBE = 3
    """The probes of SURE; the iteration is the second number."""
    MEMBER = 4
    """The seeds of an ensemble's members; the member is the second number."""
    SAMPLING = 5
    """The reverse process of the DDPM that denoises."""
    HELD_OUT = 6
    OWN = 7
    """What options that are written outside of this package draw while they are built."""


def generator(seed: int, *stream: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new generator for the stream ``(seed, *stream)``.

    Args:
        seed: The seed that a user sets, >= 0.
        stream: Numbers >= 0 that name the stream, the first from the enumeration of that seed: one seed has many
            independent streams.
        device: Where the generator draws.

    Returns:
        A generator at its beginning; the same arguments give the same draws on the same device type.
    """
    state = np.random.SeedSequence(seed, spawn_key=stream).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state[0] >> np.uint64(1)))


class DrawingFrom(TorchFunctionMode):
    """A context in which PyTorch draws from a generator instead of its global state, in this thread only.

    PyTorch's initialisation of layers takes no generator. Seeding the global state instead would disturb other threads.

    Args:
        draws: The generator.
    """

    def __init__(self, draws: torch.Generator) -> None:
        super().__init__()
        self._draws = draws

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch, with the generator if it draws."""
        del types
        kwargs = dict(kwargs or {})
        if (getattr(func, "__name__", "") in _DRAW or "generator" in kwargs) and kwargs.get("generator") is None:
            kwargs["generator"] = self._draws
        return func(*args, **kwargs)


_DRAW = {
    "bernoulli", "bernoulli_", "exponential_", "multinomial", "normal", "normal_", "rand", "randint", "randn",
    "random_", "randperm", "uniform_",
}  # fmt: skip


def spawned(seed: int, *stream: int) -> int:
    """Return a new seed for the stream ``(seed, *stream)``, as :func:`generator` returns a generator."""
    return int(np.random.SeedSequence(seed, spawn_key=stream).generate_state(1, np.uint32)[0])


def standard_normal(shape: tuple[int, ...], seed: int, *stream: int) -> torch.Tensor:
    """Return N(0, 1) draws of ``shape``, float32, drawn on the CPU so that every device gets the same ones."""
    return torch.randn(shape, generator=generator(seed, *stream))


def noised(image: torch.Tensor, beta: float, eps: torch.Tensor, *, keep_variance: bool) -> torch.Tensor:
    r"""Return an image with Gaussian noise of variance ``beta``, unclipped.

    Without ``keep_variance``, an observation: :math:`y = x + \sqrt{\beta}\,\epsilon`. With it, a level of a diffusion:
    :math:`\sqrt{1-\beta}\,x + \sqrt{\beta}\,\epsilon` (Ho et al., 2020, equation 2).

    Args:
        image: Any shape, on the [0, 1] scale.
        beta: Noise variance on that scale, in [0, 1).
        eps: Standard normal draws of the same shape.
        keep_variance: Whether the image is scaled by :math:`\sqrt{1-\beta}` first.

    Returns:
        A tensor of the image's shape.

    Example:
        >>> noised(torch.tensor([0.5]), 0.04, torch.tensor([1.0]), keep_variance=False)
        tensor([0.7000])
    """
    scale = math.sqrt(1 - beta) if keep_variance else 1.0
    return scale * image + math.sqrt(beta) * eps


def corrupted(name: str, image: torch.Tensor, beta: float, draws: torch.Generator) -> torch.Tensor:
    r"""Return an image as it is observed.

    - ``gaussian``: :math:`y = x + \sqrt{\beta}\,\epsilon`, unclipped.
    - ``clipped``: the same, clipped to [0, 1] and rounded to 8 bits: :math:`\beta` is the variance before that.
    - ``poisson``: :math:`y = \mathrm{Poisson}(q x) / q`, shot noise with :math:`q = \bar x / \beta` photons at white,
      so that its variance :math:`x / q` is :math:`\beta` on average over the image.
    - ``speckle``: :math:`y = x + \sqrt{\beta / \overline{x^2}}\,x\,\epsilon`, of variance :math:`\beta` on average.

    Args:
        name: One of :data:`NOISES`.
        image: Any shape, in [0, 1].
        beta: Noise variance on that scale, in (0, 1).
        draws: A generator on the CPU.

    Returns:
        A tensor of the image's shape.

    Raises:
        ConfigError: If the name is unknown.
        ImageError: If the image is black, which has neither shot noise nor speckle.
    """
    check_choice("noise.name", name, NOISES)
    if name in ("poisson", "speckle") and not image.any():
        raise ImageError(
            ", which leaves a black image as it is", setting="noise.name", got=name, allowed="gaussian, clipped"
        )
    if name == "poisson":
        photons = float(image.double().mean()) / beta
        return torch.poisson(image * photons, generator=draws) / photons
    eps = torch.randn(image.shape, generator=draws)
    if name == "speckle":
        return image + math.sqrt(beta / float(image.double().square().mean())) * image * eps
    observed = noised(image, beta, eps, keep_variance=False)
    return observed if name == "gaussian" else observed.clamp(0, 1).mul(255).round().div(255)


def estimate_sigma(image: NDArray[np.float32]) -> float:
    """Return the standard deviation of Gaussian noise in an image, estimated from the image alone.

    The median magnitude of the finest diagonal wavelet coefficients over that of a standard normal variable (Donoho and
    Johnstone, 1994), averaged over channels that are not constant. Fine texture counts as noise, so the estimate errs
    upwards.

    Args:
        image: ``(H, W, C)``, unclipped: clipped noise is not Gaussian, and is underestimated.

    Returns:
        On the image's scale; 0 for a constant image.
    """
    from skimage.restoration import estimate_sigma  # takes half a second to import

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a constant image has no coefficients
        sigma = float(np.nanmean(estimate_sigma(image, channel_axis=-1)))
    return 0.0 if math.isnan(sigma) else sigma
