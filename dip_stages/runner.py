"""Runs one cell: seed, build, fit, record."""

from __future__ import annotations

import dataclasses
import logging
import time
import traceback
import warnings
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from dip_stages import build
from dip_stages.callbacks import CURVE_COLUMNS, QualityCurve, Ticker
from dip_stages.data import Observation, to_array
from dip_stages.errors import DipStagesError, DivergenceError
from dip_stages.figures import plot_curve
from dip_stages.files import replacing
from dip_stages.metrics import quality
from dip_stages.pictures import write_png
from dip_stages.provenance import provenance
from dip_stages.records import PROGRESS, Record, write_csv, write_json, write_record
from dip_stages.stages import Chunks

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dip_stages.cell import Cell
    from dip_stages.modules import DIPModule
    from dip_stages.stages import StagePlan

__all__ = ["CURVES", "run_cell"]

CURVES = "curves.csv"

LAST_GOOD = "last_good.pt"

log = logging.getLogger(__name__)


def run_cell(
    cell: Cell, folder: Path, *, threads: int | None, listener: Callable[[int, int, float, float], None] | None = None
) -> Record:
    """Compute a cell and leave its record, curves, pictures and plot in a folder.

    Args:
        cell: What to compute.
        folder: Where; made if need be.
        threads: CPU threads; ``None`` for PyTorch's choice. One thread a cell gives the same bits on every launcher.
        listener: Called now and then with iteration, iterations in all, loss and PSNR; by default they are written to
            ``progress.json``, where a sweep's driver reads them.

    Returns:
        The record, done or failed. A cell that fails leaves a failure record, whatever made it fail; nothing but
        an interruption of the process is raised.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if threads is not None:
        torch.set_num_threads(threads)
    run = _Run(cell, folder, listener)
    try:
        record = run.fit()
    except Exception as error:  # a cell that fails is a result too: the sweep goes on
        foreseen = isinstance(error, DipStagesError)
        log.error("cell %s failed: %s", cell.folder, error, exc_info=not foreseen)  # noqa: TRY400 - a traceback only then
        record = run.failed(error)
    finally:
        (folder / PROGRESS).unlink(missing_ok=True)
    write_record(folder, record)  # last, so that a record never stands for half a folder
    return record


class _Run:
    """One computation of one cell, and what is known of it if it breaks off."""

    def __init__(self, cell: Cell, folder: Path, listener: Callable[[int, int, float, float], None] | None) -> None:
        self.cell, self.folder = cell, folder
        self.listener = listener or self._note_progress
        self.started, self.clock = datetime.now(UTC), time.perf_counter()
        self.observation: Observation | None = None
        self.plan: StagePlan | None = None
        self.module: DIPModule | None = None
        self.curve: QualityCurve | None = None
        self.accelerator = "cpu"
        self.fit_seconds = 0.0

    def fit(self) -> Record:
        config = self.cell.config
        self.accelerator = build.build_accelerator(config.runtime.accelerator)
        self.observation = build.build_observation(config)
        self.plan = build.build_plan(config, self.observation)
        self.module = build.build_module(config, self.plan, accelerator=self.accelerator)
        self.curve = QualityCurve(self.observation.clean)
        trainer = self._trainer()
        begun = time.perf_counter()
        try:
            with warnings.catch_warnings():
                # Lightning's own `fit` trips on a rename in torch's pytree helper; users need not see it.
                warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
                trainer.fit(self.module, Chunks(self.plan, config.trainer.chunk))
        finally:
            self.fit_seconds = time.perf_counter() - begun
        self._leave_pictures()
        return self._record("done", metrics=_metrics(self.curve.rows))

    def failed(self, error: Exception) -> Record:
        details: dict[str, Any] = {
            "type": type(error).__name__,
            "message": str(error),
            "traceback": traceback.format_exc(),
            "last_good": None,
        }
        if isinstance(error, DivergenceError) and self.module is not None and self.observation is not None:
            with replacing(self.folder / LAST_GOOD) as temporary:
                torch.save(self.module.network.state_dict(), temporary)
            self._leave_pictures()
            clean = self.observation.clean.to(self.module.output.device)
            details["last_good"] = {
                "iteration": error.last_good,
                "output": vars(quality(self.module.output, clean)),
                "average": vars(quality(self.module.average, clean)),
                "weights": LAST_GOOD,
            }
        return self._record("failed", metrics=None, error=details)

    def _trainer(self) -> pl.Trainer:
        assert self.curve is not None  # noqa: S101 - fit() made it
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
        return pl.Trainer(
            accelerator={"cuda": "gpu"}.get(self.accelerator, self.accelerator),
            devices=1,
            max_epochs=1,
            logger=build.build_logger(self.cell.config.logger, self.folder, self.cell.folder),
            callbacks=[self.curve, Ticker(self.curve, self.listener)],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=[LightningEnvironment()],
        )

    def _note_progress(self, iteration: int, total: int, loss: float, psnr: float) -> None:
        write_json(self.folder / PROGRESS, {"iteration": iteration, "iterations": total, "loss": loss, "psnr": psnr})

    def _leave_pictures(self) -> None:
        assert self.observation is not None  # noqa: S101 - a fit began
        assert self.module is not None  # noqa: S101
        assert self.curve is not None  # noqa: S101
        pictures = {
            "clean": self.observation.clean,
            "observed": self.observation.observed,
            "output": self.module.output,
            "average": self.module.average,
        }
        for name, picture in pictures.items():
            write_png(self.folder / f"{name}.png", to_array(picture))
        write_csv(self.folder / CURVES, CURVE_COLUMNS, self.curve.rows)
        plot_curve(self.folder / "curve.png", self.cell.folder, self.curve.rows, self.curve.stages)

    def _record(self, status: str, *, metrics: dict[str, Any] | None, error: dict[str, Any] | None = None) -> Record:
        config, plan, module = self.cell.config, self.plan, self.module
        run = module.iteration if module else 0
        return Record(
            status=status,
            cell={"id": self.cell.id, "folder": self.cell.folder, "axes": self.cell.axes},
            config=dataclasses.asdict(config),
            settings=self.cell.settings,
            sees_clean=config.staged and config.protocol.name == "clean",
            computed=provenance(
                self.accelerator, bfloat16=build.wants_bfloat16(config.trainer.precision, self.accelerator)
            ),
            timing={
                "started": self.started.isoformat(timespec="seconds"),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                "seconds": round(time.perf_counter() - self.clock, 3),
                "seconds_per_iteration": self.fit_seconds / run if run else None,
            },
            iterations={
                "planned": plan.iterations if plan else config.trainer.iterations,
                "run": run,
                "rollbacks": module.rollbacks if module else 0,
            },
            observation=_observation(self.cell, self.observation),
            metrics=metrics,
            stages=[_stage(stage) for stage in self.curve.stages] if self.curve else [],
            error=error,
        )


def _metrics(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return output and average at the end, and at their peaks, which only the clean picture can find."""

    def at(row: dict[str, float], picture: str) -> dict[str, Any]:
        return {"iteration": row["iteration"], "psnr": row[f"{picture}_psnr"], "ssim": row[f"{picture}_ssim"]}

    return {
        picture: {
            "end": at(rows[-1], picture),
            "peak": at(max(rows, key=lambda row: row[f"{picture}_psnr"]), picture) | {"needs_clean": True},
        }
        for picture in ("output", "average")
    }


def _stage(stage: dict[str, Any]) -> dict[str, Any]:
    return stage | {"target": vars(stage["target"]), "clean": vars(stage["clean"])}


def _observation(cell: Cell, observation: Observation | None) -> dict[str, Any]:
    known: dict[str, Any] = {
        "picture": cell.axes["picture"],
        "source": cell.config.data.source,
        "sha256": cell.settings["data"]["picture"],
        "beta_max": cell.config.noise.beta_max,
        "sigma": cell.config.noise.beta_max**0.5,
        "noise_seed": cell.config.noise_seed,
    }
    if observation is not None:
        _, channels, height, width = observation.clean.shape
        shown = quality(observation.observed.clamp(0, 1), observation.clean)
        known |= {"height": height, "width": width, "channels": channels, "psnr": shown.psnr, "ssim": shown.ssim}
    return known
