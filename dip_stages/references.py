"""Runs a reference: a method that is no Deep Image Prior, on the same observation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dip_stages import classical
from dip_stages.build import build_sigma
from dip_stages.config import DDPMConfig
from dip_stages.data import to_array, to_tensor
from dip_stages.noise import generator

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from dip_stages.config import ReferenceConfig
    from dip_stages.data import Observation

__all__ = ["Referred", "refer"]

_SAMPLING_STREAM = 5


@dataclass(frozen=True)
class Referred:
    """What a reference made of an observation.

    Attributes:
        picture: ``(1, C, H, W)`` on the CPU.
        known: What a record says of it: the noise level that it was given, and the model that it used.
    """

    picture: Tensor
    known: dict[str, Any]


def refer(method: ReferenceConfig, observation: Observation, seed: int, models: Path, **training: Any) -> Referred:
    """Return an observation denoised by a reference.

    Args:
        method: Which.
        observation: Its clean picture is not looked at.
        seed: For one that draws.
        models: Where trained models are kept.
        training: As for :func:`dip_stages.model_training.trained`.
    """
    sigma = build_sigma(method.sigma, observation)
    known: dict[str, Any] = {"sigma": {"source": method.sigma, "value": sigma}, "model": None}
    if sigma == 0:  # an estimate: there is nothing to take out
        return Referred(observation.observed, known)
    if isinstance(method, DDPMConfig):
        from dip_stages.model_training import trained  # not everybody has what it imports

        model, folder = trained(method, observation.observed.shape[1], models, **training)
        if method.reverse == "mean":
            picture = model.expected(observation.observed, sigma)
        else:
            draws = generator(seed, _SAMPLING_STREAM)
            picture = model.denoise(observation.observed, sigma, samples=method.samples, draws=draws)
        return Referred(picture.cpu(), {**known, "model": folder.name})
    denoisers: dict[str, Callable[..., Any]] = {"nlm": classical.nlm, "tv": classical.tv, "bm3d": classical.bm3d}
    own = {key: value for key, value in vars(method).items() if key not in ("name", "sigma")}
    return Referred(to_tensor(denoisers[method.name](to_array(observation.observed), sigma, **own)), known)
