"""What watches a fit: the quality curves and the progress bar. The fit never depends on them."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl

from dip_stages.dip.metrics import Quality, quality
from dip_stages.dip.module import DIPModule

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytorch_lightning.loggers import Logger
    from torch import Tensor

    from dip_stages.dip.stages import Chunk

__all__ = ["CURVE_COLUMNS", "Checkpointer", "QualityCurve", "Steps", "Ticker"]

CURVE_COLUMNS = ("member", "iteration", "stage", "loss", "output_psnr", "output_ssim", "average_psnr", "average_ssim")


class QualityCurve(pl.Callback):
    """Measures output and average against the clean image at the edge of each chunk; the fit never sees the result.

    Args:
        clean: ``(1, C, H, W)``; the reference of the evaluation, unknown to the module.
        member: The ensemble's member that is fitted.

    Attributes:
        rows: One a chunk, with the keys :data:`CURVE_COLUMNS`.
        stages: One a stage that ran: member, beta, budget, loss, and the output's quality against the target and the
            clean image at the stage's end.
    """

    def __init__(self, clean: Tensor, member: int = 0) -> None:
        self.clean = clean
        self._member = member
        self._logged = 0
        self.rows: list[dict[str, float]] = []
        self.stages: list[dict[str, Any]] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Bring the reference to the device, and hand to the logger what was measured before an interruption."""
        self.clean = self.clean.to(pl_module.device)
        self._hand_on(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Measure, and hand the figures to the logger."""
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
        self._note_stage(module, chunk, row["loss"], output)
        self.rows.append(row)
        self._hand_on(trainer, module)

    def hand_to(self, logger: Logger, planned: int) -> int:
        """Hand the rows that have not been to a logger, whose steps go on from member to member; return how many.

        Args:
            logger: Lightning's.
            planned: Iterations of each member.
        """
        before = self._logged
        while self._logged < len(self.rows):
            row = self.rows[self._logged]
            self._logged += 1
            values = {key: float(value) for key, value in row.items() if key not in ("member", "iteration")}
            logger.log_metrics(values, step=int(row["member"] * planned + row["iteration"]))
        return self._logged - before

    def _hand_on(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.logger is not None:
            self.hand_to(trainer.logger, _fit(module).plan.iterations)

    def _note_stage(self, module: DIPModule, chunk: Chunk, loss: float, against_clean: Quality) -> None:
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
    assert isinstance(module, DIPModule)  # noqa: S101 - the only kind that a runner fits
    return module


class Steps(pl.Callback):
    """Tells how many iterations are done, at each edge of a chunk.

    Args:
        tell: Called with them.
    """

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell = tell

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Tell."""
        del trainer, outputs, batch, batch_idx
        self._tell(_fit(pl_module).iteration)


class Ticker(pl.Callback):
    """Tells how the fit goes, at most every ``every`` seconds and at the end.

    Args:
        curve: Where the figures are; it must stand before this callback.
        tell: Called with the loss, and the output's PSNR in dB.
        every: Seconds between two calls.
    """

    def __init__(self, curve: QualityCurve, tell: Callable[[float, float], None], every: float = 0.5) -> None:
        self._curve, self._tell, self._every = curve, tell, every
        self._last = 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Tell when it is time."""
        del trainer, outputs, batch, batch_idx
        row = self._curve.rows[-1]
        now = time.monotonic()
        if now - self._last >= self._every or row["iteration"] == _fit(pl_module).plan.iterations:
            self._last = now
            self._tell(row["loss"], row["output_psnr"])


class Checkpointer(pl.Callback):
    """Saves now and then, at the edges of chunks, of one fit or of several side by side.

    It must stand after what else is to be saved.

    Args:
        save: Called to save.
        every: Seconds between two calls; 0 for each edge.
    """

    def __init__(self, save: Callable[[], None], every: float) -> None:
        self._save, self._every = save, every
        self._last = time.monotonic()
        self._looking = threading.Lock()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        del trainer, pl_module
        self._last = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: object, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time; not at the end, where the result is next."""
        del trainer, outputs, batch, batch_idx
        module = _fit(pl_module)
        if module.iteration == module.plan.iterations:
            return
        with self._looking:
            if time.monotonic() - self._last >= self._every:
                self._save()
                self._last = time.monotonic()
