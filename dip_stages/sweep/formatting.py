"""How progress, counts and results are written for people, in bars, lists and status. Torch-free."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

from dip_stages.store.statuses import CellStatus
from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dip_stages.store.states import Look

__all__ = ["counts", "duration", "progress_metrics", "result_of"]


def counts(states: Iterable[str]) -> str:
    """Return how many cells are in each state.

    Example:
        >>> counts(["to do", "done", "to do"])
        '1 done, 2 to do'
    """
    found = Counter(states)
    return ", ".join(f"{found[status]} {status}" for status in CellStatus if found[status])


def progress_metrics(loss: float | None, psnr: float | None, rate: float | None = None) -> str:
    """Return the metrics of a running cell: iterations per second, loss, and PSNR in dB."""
    parts = [f"{rate:.1f} it/s"] if rate else []
    if loss is not None:
        parts.append(f"loss {loss:.4f}")
    if psnr is not None and not math.isnan(psnr):  # the training of a competitor's model has none
        parts.append(f"PSNR {psnr:.2f} dB")
    return "  ".join(parts)


def result_of(found: Look) -> str:
    """Return one line on a cell that ended: its result, or why it failed."""
    record = found.record
    if record is None or record.metrics is None:
        return f"{CellStatus.LOST if found.state == CellStatus.LOST else CellStatus.FAILED}: {first_line(found.reason)}"
    result = record.metrics["result"]
    return f"PSNR {result['psnr']:.2f} dB, SSIM {result['ssim']:.3f}, {duration(record.timing['seconds'] or 0.0)}"


def duration(seconds: float) -> str:
    """Return seconds in hours and minutes, minutes and seconds, or seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
