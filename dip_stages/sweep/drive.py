"""Runs what is left of a plan on a launcher, again where something was lost, and gathers what is on disk."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dip_stages.errors import LaunchError
from dip_stages.report.cache import gather
from dip_stages.store.states import look
from dip_stages.sweep.interrupts import Interrupts
from dip_stages.sweep.progress import SweepProgress
from dip_stages.workers.jobs import Job
from dip_stages.workers.process import note_failure
from dip_stages.workers.run_folder import Run
from dip_stages.workers.slurm_queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dip_stages.store.states import Look
    from dip_stages.sweep.plan import Plan, PlannedCell
    from dip_stages.sweep.plan_cache import CachedPlan

    Launch = Callable[[Sequence[PlannedCell], int, str], "dict[str, Reason]"]

__all__ = ["Options", "Reason", "run_cached", "run_plan"]

log = logging.getLogger(__name__)

_TIMES_UNBEGUN = 2


@dataclass(frozen=True)
class Reason:
    """Why a job left no record.

    Attributes:
        message: For people.
        final: Whether it was this job alone that ended, by a hand or a fault that launching it again would meet again.
    """

    message: str
    final: bool = False


@dataclass(frozen=True)
class Options:
    """How a plan is run.

    Attributes:
        command: What the user typed, for saying how to go on.
        retry_failed: Whether cells that failed before are run again.
        overwrite: Whether all cells are run again.
        retries: How many more times a cell that fails is tried now.
        batch_size: Cells handed to the launcher at once; ``None`` for all.
        leave: Whether jobs on a cluster go on when the driver is interrupted.
        detach: Whether they are left to the cluster as soon as they are submitted.
        wait: Seconds between two looks at the cells that another driver has.
    """

    command: str = "python -m dip_stages -m"
    retry_failed: bool = False
    overwrite: bool = False
    retries: int = 0
    batch_size: int | None = None
    leave: bool = False
    detach: bool = False
    wait: float = 1.0


def run_plan(plan: Plan, launch: Launch, options: Options) -> int:
    """Run the cells that are not done, write the report, and say what failed.

    Nothing is taken from the launcher's return values but why a job ended that left no record: they are lost as soon as
    one job fails. What counts is on disk.

    Args:
        plan: The checked plan.
        launch: Given cells, the number of the first, and the run's token, runs them and returns when they ended: the
            reasons, by folder name, of the jobs that failed outside their cells.
        options: How.

    Returns:
        The exit code: 0 if every planned cell is done, or was left to a cluster; 1 if not; 128 and the signal's number
        after an interruption.

    Raises:
        LaunchError: If a cluster does not take the jobs.
    """
    plan.write(options.command)
    looks = {planned.cell.id: planned.look() for planned in plan.cells}
    left = [planned for planned in plan.cells if _wanted(looks[planned.cell.id], options)]
    interrupted = None
    if left:
        _say_what_was_found([(planned, looks[planned.cell.id]) for planned in left])
        if options.detach:
            return _submit(plan, left, looks, launch, options)
        with Run(plan.root) as run, Interrupts(run.stop_file, leave=options.leave) as interrupts:
            waited_for = [(p.folder, p.cell.id, p.iterations, looks[p.cell.id].digest) for p in left]
            with SweepProgress(waited_for, already=len(plan.cells) - len(left)):
                _Driver(left, looks, launch, options, run, interrupts).run()
            interrupted = interrupts.signal
            looks = {planned.cell.id: planned.look() for planned in plan.cells}
            code = _finish(plan.root, _named(plan, looks), options, interrupted=interrupted is not None)
            if interrupted is None:
                run.clean()
    else:
        code = _nothing_to_do(plan.name, plan.root, _named(plan, looks), options)
    return code if interrupted is None else 128 + interrupted


def _submit(plan: Plan, left: Sequence[PlannedCell], looks: dict[str, Look], launch: Launch, options: Options) -> int:
    """Leave cells to the cluster, but for those that wait there already."""
    queued = Queue(plan.root).cells
    new = [planned for planned in left if planned.folder.name not in queued]
    if new:
        with Run(plan.root) as run:
            run.write(_job(planned, looks[planned.cell.id].digest, run) for planned in new)
            launch(new, 0, run.token)
    waiting = f"; {len(left) - len(new)} wait there already" if len(new) < len(left) else ""
    sys.stdout.write(
        f"{len(new)} cells left to the cluster{waiting}\n"
        f"  python -m dip_stages.status {plan.root}    how far they are\n"
        f"  python -m dip_stages.report {plan.root}    the report, at any time\n"
        f"  {options.command}    waits for them; without sweep.detach=true, runs again what was lost\n"
    )
    return 0


def run_cached(plan: CachedPlan, options: Options) -> int | None:
    """Gather a sweep that was planned before, if there is nothing to run.

    Returns:
        The exit code, as :func:`run_plan` gives it; None if there is something to run, and nothing was done.
    """
    looks = [(folder, look(plan.root / folder, identity)) for folder, identity in plan.cells]
    if any(_wanted(found, options) for _, found in looks):
        return None
    return _nothing_to_do(plan.name, plan.root, looks, options)


def _named(plan: Plan, looks: dict[str, Look]) -> list[tuple[str, Look]]:
    return [(planned.folder.name, looks[planned.cell.id]) for planned in plan.cells]


def _nothing_to_do(name: str, root: Path, looks: Sequence[tuple[str, Look]], options: Options) -> int:
    failed = sum(found.state == "failed" for _, found in looks)
    but = f", of which {failed} failed" if failed else ""
    sys.stderr.write(f"nothing to do: all {len(looks)} cells of {name} have a record{but}\n")
    return _finish(root, looks, options, interrupted=False)


def _wanted(found: Look, options: Options) -> bool:
    if found.state in ("done", "failed"):
        return options.overwrite or (found.state == "failed" and options.retry_failed)
    return True


def _say_what_was_found(left: Sequence[tuple[PlannedCell, Look]]) -> None:
    for planned, found in left:
        if found.broken:
            sys.stderr.write(f"{found.broken}; set aside, the cell is computed again\n")
        elif found.state == "lost":
            sys.stderr.write(f"{planned.folder.name}: {found.reason}; run again\n")


@dataclass
class _Task:
    """A cell that is to be run: what record it had, and how often it was tried."""

    planned: PlannedCell
    stale: str | None
    failures: int = 0
    unbegun: int = 0
    reasons: list[str] = field(default_factory=list)
    given_up: bool = False


class _Driver:
    """Launches, looks, and launches again what was lost, until every cell has a record or nothing more can be done."""

    def __init__(
        self,
        left: Sequence[PlannedCell],
        looks: dict[str, Look],
        launch: Launch,
        options: Options,
        run: Run,
        interrupts: Interrupts,
    ) -> None:
        self._tasks = [_Task(planned, looks[planned.cell.id].digest) for planned in left]
        self._launch, self._options, self._run, self._interrupts = launch, options, run, interrupts
        self._queue = Queue(run.root)

    def run(self) -> None:
        tasks = self._tasks
        if queued := [slurm_job for task in tasks if (slurm_job := self._slurm_job(task))]:
            sys.stderr.write(f"{len(queued)} cells are in the queue of the cluster, the first as {queued[0]}\n")
        while tasks and not self._interrupts.asked():
            self._launch_all([task for task in tasks if not self._slurm_job(task)])
            if self._interrupts.asked():
                return
            tasks = self._unsettled(tasks)

    def _slurm_job(self, task: _Task) -> str | None:
        """Return the job of a cluster that has a cell, whichever run submitted it."""
        return self._queue.cells.get(task.planned.folder.name)

    def _launch_all(self, tasks: list[_Task]) -> None:
        size = self._options.batch_size or max(len(tasks), 1)
        for first in range(0, len(tasks), size):
            if self._interrupts.asked():
                return
            batch = tasks[first : first + size]
            jobs = [self._job(task) for task in batch]
            self._run.write(jobs)
            reasons = self._launch_batch([task.planned for task in batch], first)
            for task in batch:
                if reason := reasons.get(task.planned.folder.name):
                    task.reasons.append(reason.message)
                    task.given_up = reason.final

    def _launch_batch(self, cells: list[PlannedCell], first: int) -> dict[str, Reason]:
        reasons: dict[str, Reason] = {}
        try:
            with self._interrupts.launching():
                reasons = self._launch(cells, first, self._run.token)
        except LaunchError:
            raise
        except Exception as error:  # whatever a launcher raises, the other batches and the report are still due
            log.exception("the launcher failed in the batch of cell %d", first)
            reasons = {planned.folder.name: Reason(f"{type(error).__name__}: {error}") for planned in cells}
        return reasons

    def _job(self, task: _Task) -> Job:
        return _job(task.planned, task.stale, self._run)

    def _unsettled(self, tasks: list[_Task]) -> list[_Task]:
        """Return the cells that are left, once one is to be launched again; others may be somebody else's."""
        again, waiting = [], tasks
        while waiting and not self._interrupts.asked():
            begun, held = time.monotonic(), []
            for task in waiting:
                found = task.planned.look()
                if found.state == "running" or (not found.ended and self._slurm_job(task)):
                    task.unbegun = 0
                    held.append(task)
                elif self._to_be_run_again(task, found):
                    again.append(task)
            waiting = held
            if again or not waiting:
                break
            # Of thousands of folders on a shared disk a look takes long: it may not take more than a fifth of the time.
            time.sleep(max(self._options.wait, 4 * (time.monotonic() - begun)))
        return again + (waiting if again else [])

    def _to_be_run_again(self, task: _Task, found: Look) -> bool:
        if found.ended and found.digest != task.stale:
            return found.state != "done" and self._retried(task, found)
        if found.left_by is None and not task.given_up:
            task.unbegun += 1
            if task.unbegun < _TIMES_UNBEGUN:
                return True
        return self._lost(task, found)

    def _retried(self, task: _Task, found: Look) -> bool:
        task.failures += 1
        if task.failures > self._options.retries:
            return False
        task.stale, task.given_up = found.digest, False
        sys.stderr.write(
            f"{task.planned.folder.name}: failed, tried again ({task.failures} of {self._options.retries})\n"
        )
        return True

    def _lost(self, task: _Task, found: Look) -> bool:
        """Write the failure record of a cell whose job ended without one; return whether to try it again."""
        reason = "; ".join(dict.fromkeys(task.reasons)) or "its job ended without a record and without a reason"
        died = f"{found.left_by} died in the middle of the cell"
        message = reason if not found.left_by else f"{died}; {reason}" if task.given_up else died
        outcome = note_failure(self._job(task), "LostError", message)
        if outcome.status == "unwritten":
            sys.stderr.write(f"{outcome.message}\n")
            return False
        return self._retried(task, task.planned.look())


def _job(planned: PlannedCell, stale: str | None, run: Run) -> Job:
    return Job.of(planned.cell, planned.folder.absolute(), stale=stale, stop=run.stop_file.absolute())


def _finish(root: Path, looks: Sequence[tuple[str, Look]], options: Options, *, interrupted: bool) -> int:
    """Write and print the report, and say what is missing."""
    try:
        sys.stdout.write(gather(root))
    except OSError as error:
        sys.stderr.write(f"no report could be written: {error}\n")
    sys.stdout.flush()
    failed = [(name, found) for name, found in looks if found.state in ("failed", "lost")]
    missing = [name for name, found in looks if not found.ended]
    if failed:
        sys.stderr.write(f"{len(failed)} of {len(looks)} cells failed; sweep.retry_failed=true runs them again:\n")
        sys.stderr.writelines(f"  {name}: {_first_line(found.reason)}\n" for name, found in failed)
    if missing and not interrupted:
        sys.stderr.write(f"{len(missing)} of {len(looks)} cells left no record; the same command runs them:\n")
        sys.stderr.writelines(f"  {name}\n" for name in missing)
    if interrupted:
        sys.stderr.write(f"interrupted: {len(missing)} of {len(looks)} cells are left. To go on:\n")
        sys.stderr.write(f"  {options.command}\n")
    return 1 if failed or missing else 0


def _first_line(text: str) -> str:
    return text.splitlines()[0] if text else "for an unknown reason"
