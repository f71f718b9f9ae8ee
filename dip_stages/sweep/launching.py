"""The loop that launches cells, and launches again what was lost. Torch-free."""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dip_stages.errors import LaunchError
from dip_stages.names import printable
from dip_stages.store.statuses import CellStatus, OutcomeStatus
from dip_stages.store.text import first_line
from dip_stages.workers.jobs import Job
from dip_stages.workers.process import note_failure
from dip_stages.workers.slurm_queue import Queue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from dip_stages.store.states import Look
    from dip_stages.sweep.drive import Options
    from dip_stages.sweep.interrupts import SweepInterrupts
    from dip_stages.sweep.plan import PlannedCell
    from dip_stages.workers.run_folder import Run

    Launch = Callable[[Sequence[PlannedCell], int, str], "dict[str, Reason]"]

__all__ = ["LaunchLoop", "Reason", "job_of"]

log = logging.getLogger(__name__)

_STARTS = 2
"""How often a cell is launched that does not begin, before it counts as lost."""

_TAKEOVERS = 3
"""How often a driver takes a cell over from others that died with it, before it counts as lost."""


@dataclass(frozen=True)
class Reason:
    """Why a job left no record.

    Attributes:
        message: For people.
        final: Whether the cell counts as lost at once, because launching it again would end in the same way, or because
            a person cancelled its Slurm job.
        busy: Whether another process had the cell.
    """

    message: str
    final: bool = False
    busy: bool = False


@dataclass
class _Task:
    """A cell that is to be run: the digest of its old record, how often it was tried, and whether another has it."""

    planned: PlannedCell
    stale: str | None
    failures: int = 0
    not_begun: int = 0
    takeovers: int = 0
    reasons: list[str] = field(default_factory=list)
    final: bool = False
    of_another: bool = False


class LaunchLoop:
    """Launches cells, looks for their records, and launches again what was lost, until every cell has a record.

    Args:
        left: The cells to run.
        looks: What the folder of each cell shows, by id.
        launch: Runs cells, as :func:`~dip_stages.sweep.drive.run_plan` takes it.
        options: How.
        run: Where jobs are written.
        interrupts: Of the driver.
    """

    def __init__(
        self,
        left: Sequence[PlannedCell],
        looks: dict[str, Look],
        launch: Launch,
        options: Options,
        run: Run,
        interrupts: SweepInterrupts,
    ) -> None:
        self._tasks = [_Task(planned, looks[planned.cell.id].digest) for planned in left]
        self._launch, self._options, self._run, self._interrupts = launch, options, run, interrupts
        self._queue = Queue(run.root)

    def run(self) -> None:
        """Run all cells; returns early after an interruption.

        Raises:
            LaunchError: If a cluster does not take the jobs.
        """
        tasks = self._tasks
        if queued := [slurm_job for task in tasks if (slurm_job := self._slurm_job(task))]:
            sys.stderr.write(f"{len(queued)} cells are in the queue of the cluster, the first as {queued[0]}\n")
        while tasks and not self._interrupts.should_stop():
            self._launch_all([task for task in tasks if not self._slurm_job(task)])
            if self._interrupts.should_stop():
                return
            tasks = self._unsettled(tasks)

    def _slurm_job(self, task: _Task) -> str | None:
        """Return the Slurm job, of any run, that has a cell; None if none has it."""
        return self._queue.cells.get(task.planned.folder.name)

    def _launch_all(self, tasks: list[_Task]) -> None:
        size = self._options.cells_per_launch or max(len(tasks), 1)
        for first in range(0, len(tasks), size):
            if self._interrupts.should_stop():
                return
            some = tasks[first : first + size]
            self._run.write(self._job(task) for task in some)
            reasons = self._launch_some([task.planned for task in some], first)
            for task in some:
                reason = reasons.get(task.planned.folder.name)
                task.of_another = reason is not None and reason.busy
                if reason and not reason.busy:
                    task.reasons.append(reason.message)
                    task.final = reason.final

    def _launch_some(self, cells: list[PlannedCell], first: int) -> dict[str, Reason]:
        reasons: dict[str, Reason] = {}
        try:
            with self._interrupts.launching():
                reasons = self._launch(cells, first, self._run.token)
        except LaunchError:
            raise
        except Exception as error:  # of any launcher: the other cells must run and the report must be written
            log.exception("the launcher failed in the launch that begins with cell %d", first)
            reasons = {planned.folder.name: Reason(f"{type(error).__name__}: {error}") for planned in cells}
        return reasons

    def _job(self, task: _Task) -> Job:
        return job_of(task.planned, task.stale, self._run)

    def _unsettled(self, tasks: list[_Task]) -> list[_Task]:
        """Wait until a cell is to be launched again, or none is left; return those that are left.

        Among them may be cells that another driver or a Slurm job has.
        """
        again, waiting = [], tasks
        while waiting and not self._interrupts.should_stop():
            begun, held = time.monotonic(), []
            for task in waiting:
                found = task.planned.look()
                if found.state == CellStatus.RUNNING or (not found.ended and self._slurm_job(task)):
                    task.not_begun = 0
                    task.of_another = not task.final  # what was launched here has ended
                    held.append(task)
                elif self._runs_again(task, found):
                    again.append(task)
            waiting = held
            if again or not waiting:
                break
            # With thousands of folders on a shared disk a look takes long: limit it to a fifth of the time.
            time.sleep(max(self._options.wait, 4 * (time.monotonic() - begun)))
        return again + (waiting if again else [])

    def _runs_again(self, task: _Task, found: Look) -> bool:
        ended = found.ended and found.digest != task.stale
        lost = found.state == CellStatus.LOST if ended else found.left_by is not None and not task.reasons
        if lost and (task.of_another or not ended) and self._takes_over(task, found):
            return True
        if ended:
            return found.state != CellStatus.DONE and self._retries(task, found)
        if found.left_by is None and not task.final:
            task.not_begun += 1
            if task.not_begun < _STARTS:
                return True
        return self._lost(task, found)

    def _takes_over(self, task: _Task, found: Look) -> bool:
        """Return whether to run a cell that was lost with another's process, and note it."""
        task.takeovers += 1
        if task.takeovers > _TAKEOVERS:
            return False
        task.stale, task.of_another = found.digest, False
        why = first_line(found.reason) if found.ended else f"{found.left_by} died in the middle of the cell"
        sys.stderr.write(f"{task.planned.folder.name}: {why}; taken over ({task.takeovers} of {_TAKEOVERS})\n")
        return True

    def _retries(self, task: _Task, found: Look) -> bool:
        task.failures += 1
        if task.failures > self._options.retries:
            return False
        task.stale, task.final = found.digest, False
        sys.stderr.write(
            f"{task.planned.folder.name}: failed, tried again ({task.failures} of {self._options.retries})\n"
        )
        return True

    def _lost(self, task: _Task, found: Look) -> bool:
        """Write the failure record of a cell whose job ended without one; return whether to try it again."""
        reason = "; ".join(dict.fromkeys(task.reasons)) or "its job ended without a record and without a reason"
        died = f"{found.left_by} died in the middle of the cell"
        message = reason if not found.left_by else f"{died}; {reason}" if task.final else died
        outcome = note_failure(self._job(task), "LostError", message)
        if outcome.status == OutcomeStatus.UNWRITTEN:
            sys.stderr.write(f"{printable(outcome.message)}\n")
            return False
        return self._retries(task, task.planned.look())


def job_of(planned: PlannedCell, stale: str | None, run: Run) -> Job:
    """Return the job of a planned cell in a run; ``stale`` is the digest of the record that is to be replaced."""
    return Job.of(planned.cell, planned.folder.absolute(), stale=stale, stop=run.stop_file.absolute())
