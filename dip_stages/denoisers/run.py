"""Runs a competitor: a method that is no Deep Image Prior, on the same observation."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dip_stages.config import DDPMConfig
from dip_stages.denoisers import classical
from dip_stages.dip.noise import FitStream, generator
from dip_stages.dip.observation import build_sigma, to_array, to_tensor
from dip_stages.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from dip_stages.config import CompetitorConfig
    from dip_stages.dip.observation import Observation

__all__ = ["Denoised", "denoise_with"]


@dataclass(frozen=True)
class Denoised:
    """What a competitor made of an observation.

    Attributes:
        image: ``(1, C, H, W)`` in [0, 1], on the CPU.
        known: What a record says of it: the noise level that it was given, the model that it used, and the seconds that
            this had to be trained, or waited for.
    """

    image: Tensor
    known: dict[str, Any]


def denoise_with(
    method: CompetitorConfig,
    observation: Observation,
    seed: int,
    models: Path,
    *,
    accelerator: str,
    every: float | None = 60.0,
    should_stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, int, float], None] = lambda _iteration, _iterations, _loss: None,
) -> Denoised:
    """Return an observation denoised by a competitor.

    Args:
        method: Which.
        observation: Its clean image is not looked at.
        seed: For one that draws.
        models: Where trained models are kept.
        accelerator: What a model runs on.
        every: Seconds between two checkpoints of a training; None for none but at an interruption.
        should_stop: Asked now and then whether to stop.
        tell: Called now and then with iteration, iterations in all, and loss of a training.

    Raises:
        Interrupted: If it was asked to stop.
        ModelError: As :func:`dip_stages.denoisers.ddpm_training.trained`.
    """
    observed = observation.observed
    sigma = build_sigma(method.sigma, observation)
    known: dict[str, Any] = {"sigma": {"source": method.sigma, "value": sigma}, "model": None}

    def go_on(*_: int) -> None:
        if should_stop():
            raise Interrupted("asked to stop")

    go_on()
    if sigma == 0:  # an estimate: there is nothing to take out
        return Denoised(observed.clamp(0, 1), known)
    if isinstance(method, DDPMConfig):
        from dip_stages.denoisers.ddpm_training import trained  # not everybody has what it imports

        begun = time.monotonic()
        model, folder = trained(
            method, observed.shape[1], models, accelerator=accelerator, every=every, should_stop=should_stop, tell=tell
        )
        known |= {"model": folder.name, "training_seconds": round(time.monotonic() - begun, 1)}
        if method.reverse == "mean":
            image = model.expected(observed, sigma)
        else:
            draws = generator(seed, FitStream.SAMPLING)
            image = model.denoise(observed, sigma, samples=method.samples, draws=draws, on_progress=go_on)
        return Denoised(image.cpu(), known)
    denoisers: dict[str, Callable[..., Any]] = {"nlm": classical.nlm, "tv": classical.tv, "bm3d": classical.bm3d}
    own = {key: value for key, value in vars(method).items() if key not in ("name", "sigma")}
    # Clipped as fits are, by their last layer.
    return Denoised(to_tensor(denoisers[method.name](to_array(observed), sigma, **own)).clamp(0, 1), known)
