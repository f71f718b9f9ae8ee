"""Runs what is left of a plan on a launcher, and gathers what is on disk."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from dip_stages.progress import SweepProgress
from dip_stages.report import report_sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dip_stages.sweep.plan import Plan, PlannedCell

__all__ = ["run_plan"]

log = logging.getLogger(__name__)


def run_plan(
    plan: Plan,
    launch: Callable[[Sequence[PlannedCell], int], None],
    *,
    batch_size: int | None,
    retry_failed: bool,
    overwrite: bool,
) -> int:
    """Run the cells that are not done, write the report, and say what failed.

    Nothing is taken from the launcher's return values: they are lost as soon as one job fails. What counts is on disk.

    Args:
        plan: The checked plan.
        launch: Runs cells, given the number of the first, and returns when they ended.
        batch_size: Cells handed to the launcher at once; ``None`` for all.
        retry_failed: Whether cells that failed before are run again.
        overwrite: Whether all cells are run again.

    Returns:
        The exit code: 0 if every planned cell is done, else 1.
    """
    wanted = ("to do", "failed", "done") if overwrite else ("to do", "failed") if retry_failed else ("to do",)
    left = plan.in_state(*wanted)
    plan.write()
    plan.clear(left)
    if left:
        with SweepProgress({p.folder: p.iterations for p in left}, already=len(plan.cells) - len(left)):
            _launch_in_batches(left, launch, batch_size or len(left))
    else:
        sys.stderr.write(f"nothing to do: all {len(plan.cells)} cells of {plan.name} have a record\n")
    sys.stdout.write(report_sweep(plan.root))
    return _say_what_failed(plan)


def _launch_in_batches(
    cells: Sequence[PlannedCell], launch: Callable[[Sequence[PlannedCell], int], None], size: int
) -> None:
    for first in range(0, len(cells), size):
        try:
            launch(cells[first : first + size], first)
        except Exception:  # whatever a launcher raises, the other batches and the report are still due
            log.exception("the launcher failed in the batch of cell %d", first)


def _say_what_failed(plan: Plan) -> int:
    failed, missing = plan.in_state("failed"), plan.in_state("to do")
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(plan.cells)} cells failed; sweep.retry_failed=true runs them again:\n")
        sys.stderr.writelines(f"  {p.folder}\n" for p in failed)
    if missing:
        sys.stderr.write(f"{len(missing)} of {len(plan.cells)} cells left no record; the same command runs them:\n")
        sys.stderr.writelines(f"  {p.folder}\n" for p in missing)
    return 1 if failed or missing else 0
