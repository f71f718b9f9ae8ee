"""Runs a competitor: a method other than Deep Image Prior, on the same observation."""

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
    from dip_stages.denoisers.ddpm import DDPM
    from dip_stages.dip.observation import Observation
    from dip_stages.store.record_fields import Given

__all__ = ["Denoised", "denoise_with"]


@dataclass(frozen=True)
class Denoised:
    """A competitor's result.

    Attributes:
        image: ``(1, C, H, W)`` in [0, 1], on the CPU.
        given: The noise level and the model that the competitor was given, as a record has them.
    """

    image: Tensor
    given: Given


def denoise_with(
    method: CompetitorConfig,
    observation: Observation,
    seed: int,
    models: Path,
    *,
    accelerator: str,
    checkpoint_every: float | None = 60.0,
    should_stop: Callable[[], bool] = lambda: False,
    on_progress: Callable[[int, int, float], None] = lambda _iteration, _iterations, _loss: None,
) -> Denoised:
    """Return an observation denoised by a competitor.

    Args:
        method: The competitor.
        observation: Its clean image is not used.
        seed: For a competitor that draws random numbers.
        models: Folder of trained models.
        accelerator: ``cpu``, ``cuda`` or ``mps``; a model runs on it.
        checkpoint_every: Seconds between two checkpoints of a training; None for only one, at an interruption.
        should_stop: Called now and then; whether to stop.
        on_progress: Called now and then with iteration, iterations in all, and loss of a training.

    Raises:
        Interrupted: If it was asked to stop.
        ModelError: As :func:`dip_stages.denoisers.ddpm_training.trained`.
    """
    observed, sigma = observation.observed, build_sigma(method.sigma, observation)
    given: Given = {"sigma": {"source": method.sigma, "value": sigma}, "model": None}
    _check(should_stop)
    if sigma == 0:  # an estimate that found no noise
        return Denoised(observed.clamp(0, 1), given)
    if not isinstance(method, DDPMConfig):
        return Denoised(_denoised_classically(method, observed, sigma), given)
    begun = time.monotonic()
    model, name = _trained(method, observed, models, accelerator, checkpoint_every, should_stop, on_progress)
    given |= {"model": name, "training_seconds": round(time.monotonic() - begun, 1)}
    return Denoised(_denoised_by(model, method, observed, sigma, seed, should_stop), given)


def _trained(
    method: DDPMConfig,
    observed: Tensor,
    models: Path,
    accelerator: str,
    checkpoint_every: float | None,
    should_stop: Callable[[], bool],
    on_progress: Callable[[int, int, float], None],
) -> tuple[DDPM, str]:
    from dip_stages.denoisers.ddpm_training import trained  # imports an extra, diffusers

    model, folder = trained(
        method,
        observed.shape[1],
        models,
        accelerator=accelerator,
        checkpoint_every=checkpoint_every,
        should_stop=should_stop,
        on_progress=on_progress,
    )
    return model, folder.name


def _denoised_classically(method: CompetitorConfig, observed: Tensor, sigma: float) -> Tensor:
    denoisers: dict[str, Callable[..., Any]] = {"nlm": classical.nlm, "tv": classical.tv, "bm3d": classical.bm3d}
    settings = {key: value for key, value in vars(method).items() if key not in ("name", "sigma")}
    denoised = to_tensor(denoisers[method.name](to_array(observed), sigma, **settings))
    return denoised.clamp(0, 1)  # as the last layer of a fit's network does


def _denoised_by(
    model: DDPM, method: DDPMConfig, observed: Tensor, sigma: float, seed: int, should_stop: Callable[[], bool]
) -> Tensor:
    if method.reverse == "mean":
        return model.expected(observed, sigma).cpu()
    draws = generator(seed, FitStream.SAMPLING)
    ends = model.denoise(
        observed, sigma, samples=method.samples, draws=draws, on_progress=lambda *_: _check(should_stop)
    )
    return ends.cpu()


def _check(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Interrupted("asked to stop")
