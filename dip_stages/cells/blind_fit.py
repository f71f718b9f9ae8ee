"""Denoises an image, or a tile of one, of which there is no clean version."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dip_stages.cells.build import build_module, build_plan
from dip_stages.cells.hardware import build_accelerator
from dip_stages.cells.results import result_of
from dip_stages.cells.threads import in_lanes
from dip_stages.denoisers.model_store import models_folder
from dip_stages.denoisers.run import denoise_with
from dip_stages.dip.callbacks import Steps
from dip_stages.dip.lightning import fit, trainer_of
from dip_stages.dip.observation import Observation, to_array, to_tensor
from dip_stages.dip.stages import Chunks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dip_stages.config import CompetitorConfig, Config

__all__ = ["denoise_tile"]


def denoise_tile(
    image: NDArray[np.float32], config: Config, on_progress: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """Return the mean of the results of an ensemble's members, or the result of a competitor.

    Args:
        image: ``(H, W, C)``, 1.0 being white.
        config: The method, and the noise level of the image.
        on_progress: Called with iteration and iterations in all, of all members.

    Returns:
        The same shape, float32.

    Raises:
        Interrupted: If interrupted from the keyboard.
    """
    if config.runtime.threads is not None:
        torch.set_num_threads(config.runtime.threads)
    accelerator = build_accelerator(config.runtime.accelerator) if config.on_device else "cpu"
    observed = to_tensor(image)
    # In place of the clean image: anything that used it would give NaN.
    observation = Observation(torch.full_like(observed, torch.nan), observed, config.noise.beta_max)
    if config.competitor:
        return _by_competitor(config.competitor, config, observation, accelerator, on_progress)
    return _fitted(config, observation, accelerator, on_progress)


def _by_competitor(
    method: CompetitorConfig,
    config: Config,
    observation: Observation,
    accelerator: str,
    on_progress: Callable[[int, int], None],
) -> NDArray[np.float32]:
    denoised = denoise_with(
        method,
        observation,
        config.seed,
        models_folder(Path("outputs")),
        accelerator=accelerator,
        checkpoint_every=config.runtime.checkpoint_every,
        on_progress=lambda iteration, iterations, _: on_progress(iteration, iterations),
    )
    return to_array(denoised.image)


def _fitted(
    config: Config, observation: Observation, accelerator: str, on_progress: Callable[[int, int], None]
) -> NDArray[np.float32]:
    plan = build_plan(config, observation)
    members = config.ensemble.members
    done, results = [0] * members, [np.empty(0, np.float32)] * members
    reporting = threading.Lock()

    def fit_member(member: int, should_stop: Callable[[], bool]) -> None:
        def report(iteration: int) -> None:
            with reporting:
                done[member] = iteration
                on_progress(sum(done), members * plan.iterations)

        module = build_module(config, plan, observation, accelerator=accelerator, member=member)
        module.should_stop = should_stop
        trainer = trainer_of(accelerator, logger=False, callbacks=[Steps(report)])
        fit(trainer, module, Chunks(plan, config.trainer.chunk), accelerator)
        done[member] = plan.iterations  # even if its rule ended it early
        results[member] = to_array(result_of(config, module.chosen))

    in_lanes(fit_member, range(members), min(config.runtime.members_together, members))
    mean: NDArray[np.float32] = np.stack(results).mean(axis=0)
    return mean
