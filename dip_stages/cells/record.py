"""From the computation of a cell to its record."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dip_stages.cells.hardware import wants_bfloat16, wants_channels_last
from dip_stages.cells.results import quality_of
from dip_stages.dip.observation import build_sigma
from dip_stages.images.sources import is_course_image
from dip_stages.store.provenance import provenance
from dip_stages.store.records import Record

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.cells.attempt import Attempt
    from dip_stages.cells.fits import Fits
    from dip_stages.cells.identity import Cell
    from dip_stages.dip.observation import Observation
    from dip_stages.dip.stages import StagePlan
    from dip_stages.store.record_fields import (
        Computed,
        ErrorFields,
        Given,
        Iterations,
        Metrics,
        Observed,
        Stopping,
        Timing,
    )
    from dip_stages.store.statuses import RecordStatus

__all__ = ["Run", "record_of"]


@dataclass
class Run:
    """One computation of one cell, as far as it has come: what a record says of it, done or failed.

    Attributes:
        cell: What is computed.
        folder: The cell's.
        attempt: Time, notes, progress, checkpoint.
        together: How many cells the process computes at once.
        accelerator: ``cpu``, ``cuda`` or ``mps``.
        observation: The noisy image; None before it is made.
        plan: The stages; None before it is made, and for a competitor.
        fits: The fits; None before they are made, and for a competitor.
        given: What a competitor was given; None before it has denoised, and for fits.
        files: SHA-256 of each file that was written beside the record, by name.
    """

    cell: Cell
    folder: Path
    attempt: Attempt
    together: int
    accelerator: str = "cpu"
    observation: Observation | None = None
    plan: StagePlan | None = None
    fits: Fits | None = None
    given: Given | None = None
    files: dict[str, str] = field(default_factory=dict)

    @property
    def bfloat16(self) -> bool:
        """Whether it computes under bfloat16."""
        config = self.cell.config
        return not config.competitor and wants_bfloat16(config.trainer.precision, self.accelerator)


def record_of(
    run: Run,
    status: RecordStatus,
    *,
    metrics: Metrics | None = None,
    stopping: Stopping | None = None,
    error: ErrorFields | None = None,
    lost: bool = False,
) -> Record:
    """Return the record of a computation.

    Args:
        run: The computation.
        status: How it ended.
        metrics: Of a cell that is done.
        stopping: Of a fit that is done.
        error: Of a cell that failed.
        lost: Whether it failed through something outside it.
    """
    cell, fits = run.cell, run.fits
    return Record(
        status=status,
        cell={"id": cell.id, "folder": cell.folder, "axes": cell.axes},
        config=cell.config.plain(),
        settings=cell.settings,
        sees_clean=cell.config.sees_clean,
        computed=_computed(run),
        timing=_timing(run),
        iterations=_iterations(run),
        observation=_observed(run),
        metrics=metrics,
        stopping=stopping,
        members=[member.fields() for member in fits.members] if fits and cell.config.ensemble.members > 1 else [],
        stages=fits.stages if fits else [],
        error=error,
        lost=lost,
        files=run.files,
    )


def _computed(run: Run) -> Computed:
    computed: Computed = {
        **provenance(run.accelerator, bfloat16=run.bfloat16),
        "together": run.together,
        "members_together": run.fits.together if run.fits else 1,
        "notes": run.attempt.notes,
    }
    if run.plan is not None:
        height, width = run.plan.stages[0].target.shape[2:]
        last = wants_channels_last(run.cell.config, run.accelerator, (height, width))
        computed["layout"] = "channels_last" if last else "contiguous"
    return computed


def _timing(run: Run) -> Timing:
    time, iterations = run.attempt.time, run.fits.iterations if run.fits else 0
    return {
        "started": run.attempt.started,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": round(time.seconds, 3),
        "seconds_per_iteration": time.fit_seconds / iterations if iterations else None,
    }


def _iterations(run: Run) -> Iterations:
    config, fits = run.cell.config, run.fits
    return {
        "planned": config.ensemble.members * run.plan.iterations if run.plan else config.iterations,
        "run": fits.iterations if fits else 0,
        "rollbacks": fits.rollbacks if fits else 0,
        "resumed_at": run.attempt.resumed_at,
    }


def _observed(run: Run) -> Observed:
    cell, config, observation = run.cell, run.cell.config, run.observation
    observed: Observed = {
        "image": cell.axes["image"],
        "source": config.data.source,
        "course_image": is_course_image(config.data),
        "index": getattr(config.data, "index", None),
        "sha256": cell.settings["data"]["image"],
        "noise": config.noise.name,
        "unmet": list(config.unmet),
        "beta_max": config.noise.beta_max,
        "sigma": config.noise.beta_max**0.5,
        "noise_seed": config.noise_seed,
    }
    if observation is not None:
        _, channels, height, width = observation.clean.shape
        quality = quality_of(observation.observed.clamp(0, 1), observation.clean)
        observed |= {"height": height, "width": width, "channels": channels}
        observed |= {"psnr": quality["psnr"], "ssim": quality["ssim"]}
        if config.recorrupted:
            source = config.protocol.sigma
            observed["recorruption"] = {"source": source, "value": build_sigma(source, observation)}
    if run.given is not None:
        observed["given"] = run.given
    return observed
