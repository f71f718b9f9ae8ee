"""Callbacks of a fit: quality curves, progress, checkpoints. The fit does not depend on them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from dip_stages.clock import Every
from dip_stages.dip.metrics import Quality, quality
from dip_stages.dip.module import DIPModule
from dip_stages.dip.world import pl

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytorch_lightning.loggers import Logger
    from torch import Tensor

    from dip_stages.dip.stages import Chunk

__all__ = ["CURVE_COLUMNS", "Checkpointer", "Guard", "QualityCurve", "Steps", "Ticker"]

CURVE_COLUMNS = ("member", "iteration", "stage", "loss", "output_psnr", "output_ssim", "average_psnr", "average_ssim")


class QualityCurve(pl.Callback):
    """Measures output and average against the clean image at the end of each chunk.

    Args:
        clean: ``(1, C, H, W)``; the module does not have it.
        member: The ensemble's member that is fitted.

    Attributes:
        rows: One for each chunk, with the keys :data:`CURVE_COLUMNS`.
        stages: One for each stage that ran: member, index, beta, budget, loss, and the output's quality against the
            target and the clean image at the stage's end.
    """

    def __init__(self, clean: Tensor, member: int = 0) -> None:
        self.clean = clean
        self._member = member
        self._logged = 0
        self.rows: list[dict[str, float]] = []
        self.stages: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Move the clean image to the device, and log the rows from before an interruption."""
        self.clean = self.clean.to(pl_module.device)
        self._log(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Measure, and log the row."""
        del outputs, batch_idx
        module, chunk = _fit(pl_module), batch
        output, average = quality(module.output, self.clean), quality(module.average, self.clean)
        row = {
            "member": self._member,
            "iteration": module.iteration,
            "stage": chunk.stage,
            "loss": module.loss_value.item(),
            "output_psnr": output.psnr,
            "output_ssim": output.ssim,
            "average_psnr": average.psnr,
            "average_ssim": average.ssim,
        }
        self._add_stage(module, chunk, row["loss"], output)
        self.rows.append(row)
        self._log(trainer, module)

    def hand_to(self, logger: Logger, planned: int) -> int:
        """Log the rows that have not been logged yet; return how many.

        Args:
            logger: Lightning's; its steps are counted on from member to member.
            planned: Iterations of each member.
        """
        before = self._logged
        while self._logged < len(self.rows):
            row = self.rows[self._logged]
            self._logged += 1
            values = {key: float(value) for key, value in row.items() if key not in ("member", "iteration")}
            logger.log_metrics(values, step=int(row["member"] * planned + row["iteration"]))
        return self._logged - before

    def _log(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.logger is not None:
            self.hand_to(trainer.logger, _fit(module).plan.iterations)

    def _add_stage(self, module: DIPModule, chunk: Chunk, loss: float, against_clean: Quality) -> None:
        stage = module.plan.stages[chunk.stage]
        ends = sum(s.budget for s in module.plan.stages[: chunk.stage + 1])
        if chunk.stop == ends:
            self.stages.append(
                {
                    "member": self._member,
                    "index": chunk.stage,
                    "beta": stage.beta,
                    "budget": stage.budget,
                    "loss": loss,
                    "target": vars(quality(module.output, stage.target.to(module.device))),
                    "clean": vars(against_clean),
                }
            )


def _fit(module: pl.LightningModule) -> DIPModule:
    assert isinstance(module, DIPModule)  # noqa: S101 - the only module that has these callbacks
    return module


class Guard(pl.Callback):
    """Ends a fit that may write nothing any more, before anything is written. It must come first in the trainer's list.

    Args:
        check: Raises if that is so.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Check at the end of a chunk."""
        del pl_module, outputs, batch, batch_idx
        self._guard(trainer)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check before the loggers write out what they have."""
        del pl_module, stage
        self._guard(trainer)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Check likewise where the fit ends in an error."""
        del pl_module, exception
        self._guard(trainer)

    def _guard(self, trainer: pl.Trainer) -> None:
        try:
            self._check()
        except Exception:
            trainer.loggers = []
            raise


class Steps(pl.Callback):
    """Reports the number of iterations done, at the end of each chunk.

    Args:
        on_progress: Called with that number.
    """

    def __init__(self, on_progress: Callable[[int], None]) -> None:
        self._on_progress = on_progress

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Report."""
        del trainer, outputs, batch, batch_idx
        self._on_progress(_fit(pl_module).iteration)


class Ticker(pl.Callback):
    """Reports loss and PSNR, at the ends of chunks, at most once in some seconds and at the end of the plan.

    Args:
        curve: Measures both; it must come before this callback in the trainer's list.
        on_progress: Called with the loss, and the output's PSNR in dB.
        every: Seconds between two calls.
    """

    def __init__(self, curve: QualityCurve, on_progress: Callable[[float, float], None], every: float = 0.5) -> None:
        self._curve, self._on_progress, self._every = curve, on_progress, Every(every, now=True)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Report if it is time."""
        del trainer, outputs, batch, batch_idx
        row = self._curve.rows[-1]
        if self._every.due() or row["iteration"] == _fit(pl_module).plan.iterations:
            self._on_progress(row["loss"], row["output_psnr"])


class Checkpointer(pl.Callback):
    """Saves periodically, at the ends of chunks, in one fit or in several fits at once.

    It must come last in the trainer's list, so that what other callbacks measured is saved too.

    Args:
        save: Called to save.
        every: Seconds between two calls; 0 for the end of each chunk.
    """

    def __init__(self, save: Callable[[], None], every: float) -> None:
        self._save, self._every = save, Every(every)
        self._lock = threading.Lock()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the seconds from here."""
        del trainer, pl_module
        self._every.restart()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, but not at the end of the plan: the result is written next."""
        del trainer, outputs, batch, batch_idx
        module = _fit(pl_module)
        if module.iteration == module.plan.iterations:
            return
        with self._lock:
            if self._every.due():
                self._save()
                self._every.restart()  # the seconds between two saves, without those of saving
