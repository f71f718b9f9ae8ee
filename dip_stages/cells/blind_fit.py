"""Denoises an image, or a tile of one, of which there is no clean version."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from dip_stages.cells.build import build_module, build_plan
from dip_stages.cells.hardware import build_accelerator, wants_bfloat16
from dip_stages.cells.results import result_of
from dip_stages.cells.threads import in_lanes
from dip_stages.denoisers.model_store import models_folder
from dip_stages.denoisers.run import denoise_with
from dip_stages.dip.callbacks import Checkpointer, Steps
from dip_stages.dip.lightning import fit, trainer_of
from dip_stages.dip.observation import Observation, to_array, to_tensor
from dip_stages.dip.stages import Chunks
from dip_stages.dip.world import SIGTERMException
from dip_stages.errors import Interrupted
from dip_stages.store.checkpoints import made_with
from dip_stages.store.fingerprint import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from dip_stages.cells.kept_tile import KeptTile
    from dip_stages.config import CompetitorConfig, Config
    from dip_stages.dip.module import DIPModule

__all__ = ["denoise_tile", "made_here"]


def denoise_tile(
    image: NDArray[np.float32],
    config: Config,
    on_progress: Callable[[int, int], None],
    kept: KeptTile | None = None,
    on_fit: Callable[[int, int, list[tuple[int, float]]], None] = lambda *_: None,
) -> NDArray[np.float32]:
    """Return the mean of the results of an ensemble's members, or the result of a competitor.

    Args:
        image: ``(H, W, C)``, 1.0 being white.
        config: The method, and the noise level of the image.
        on_progress: Called with iteration and iterations in all, of all members; at the end of a competitor with 1.
        kept: Gets the result, and before that the checkpoints of the fits, which it may have already; None to keep
            nothing.
        on_fit: Called with member (from 1), kept iteration, and iterations with their losses, of each fit that ends.

    Returns:
        The same shape, float32.

    Raises:
        Interrupted: If interrupted from the keyboard or by SIGTERM; a checkpoint is left.
    """
    accelerator = _accelerator(config)
    observed = to_tensor(image)
    # In place of the clean image: anything that used it would give NaN.
    observation = Observation(torch.full_like(observed, torch.nan), observed, config.noise.beta_max)
    if config.competitor is None:
        return _Fits(config, observation, accelerator, on_progress, kept, on_fit).run()
    result = _by_competitor(config.competitor, config, observation, accelerator, on_progress)
    if kept is not None:
        kept.keep(result)
    return result


def made_here(config: Config) -> dict[str, Any]:
    """Return what the bits of a tile depend on in this process, besides image and configuration."""
    accelerator = _accelerator(config)
    bfloat16 = config.competitor is None and wants_bfloat16(config.trainer.precision, accelerator)
    return made_with(fingerprint(), accelerator, bfloat16=bfloat16)


def _accelerator(config: Config) -> str:
    if config.runtime.threads is not None:
        torch.set_num_threads(config.runtime.threads)
    return build_accelerator(config.runtime.accelerator) if config.on_device else "cpu"


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
    on_progress(1, 1)
    return to_array(denoised.image)


class _Fits:
    """The fits of a tile, one for each member of the ensemble; they resume to the same bits.

    Args:
        config: The method.
        observation: The tile.
        accelerator: ``cpu``, ``cuda`` or ``mps``.
        on_progress: Called with iteration and iterations in all.
        kept: Where checkpoints are; None for none.
        on_fit: Called at the end of each.
    """

    def __init__(
        self,
        config: Config,
        observation: Observation,
        accelerator: str,
        on_progress: Callable[[int, int], None],
        kept: KeptTile | None,
        on_fit: Callable[[int, int, list[tuple[int, float]]], None],
    ) -> None:
        self._on_fit = on_fit
        self._config, self._observation, self._accelerator = config, observation, accelerator
        self._on_progress, self._kept = on_progress, kept
        self._plan = build_plan(config, observation)
        self._members = config.ensemble.members
        saved = kept.fits() if kept is not None else None
        self._done: dict[int, torch.Tensor] = saved["done"] if saved else {}  # results by member
        self._edges: dict[int, dict[str, Any]] = saved["edges"] if saved else {}  # of the other fits
        every = config.runtime.checkpoint_every
        self._checkpoints = [] if kept is None or every is None else [Checkpointer(self._save, every)]
        self._saving, self._reporting = threading.Lock(), threading.Lock()  # fits may run side by side

    def run(self) -> NDArray[np.float32]:
        """Fit the members that are not done, and return the mean of all."""
        left = [number for number in range(self._members) if number not in self._done]
        try:
            in_lanes(self._fit, left, min(self._config.runtime.members_together, self._members))
            results = [to_array(self._done[number]) for number in range(self._members)]
            mean: NDArray[np.float32] = np.stack(results).mean(axis=0)
            if self._kept is not None:
                self._kept.keep(mean)
        except SIGTERMException as error:  # Lightning's handler of SIGTERM
            self._save()
            raise Interrupted("asked to stop by SIGTERM") from error
        except (Interrupted, KeyboardInterrupt):
            self._save()
            raise
        return mean

    def _fit(self, member: int, should_stop: Callable[[], bool]) -> None:
        config = self._config
        module = build_module(config, self._plan, self._observation, accelerator=self._accelerator, member=member)
        module.should_stop = should_stop
        if member in self._edges:
            module.resume(self._edges[member])
        curve: list[tuple[int, torch.Tensor]] = []
        callbacks = [Steps(lambda _: self._note_edge(member, module, curve)), *self._checkpoints]
        trainer = trainer_of(self._accelerator, logger=False, callbacks=callbacks)
        fit(trainer, module, Chunks(self._plan, config.trainer.chunk, start=module.edge), self._accelerator)
        chosen = module.chosen
        self._done[member] = result_of(config, chosen).detach().cpu().clone()
        self._edges.pop(member, None)
        if len(self._done) < self._members:
            self._save()
        self._on_fit(member + 1, chosen.iteration, [(iteration, float(loss)) for iteration, loss in curve])

    def _note_edge(self, member: int, module: DIPModule, curve: list[tuple[int, torch.Tensor]]) -> None:
        state = module.saved()
        assert state is not None  # noqa: S101 - a chunk has ended
        self._edges[member] = state
        curve.append((module.iteration, module.loss_value.detach().clone()))  # read at the end: a GPU is not waited for
        with self._reporting:
            self._on_progress(self._iteration, self._members * self._plan.iterations)

    @property
    def _iteration(self) -> int:
        """Iterations of all members; one that is done counts with all that were planned, even if its rule ended it."""
        edges, done = self._state()
        return len(done) * self._plan.iterations + sum(int(state["iteration"]) for state in edges.values())

    def _save(self) -> None:
        """Keep the members that are done and the last edge of each other fit, if there is any."""
        with self._saving:
            if self._kept is None or not (self._done or self._edges):
                return
            edges, done = self._state()
            self._kept.save({"iteration": self._iteration, "done": done, "edges": edges})

    def _state(self) -> tuple[dict[int, dict[str, Any]], dict[int, torch.Tensor]]:
        edges, done = dict(self._edges), dict(self._done)  # in this order: a fit that ends now is then in both
        return {member: edge for member, edge in edges.items() if member not in done}, done
