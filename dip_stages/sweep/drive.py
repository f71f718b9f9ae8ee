"""Runs what is left of a plan on a launcher, and gathers the results. Torch-free."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dip_stages.cells.machine import asks, check_machine
from dip_stages.store.states import look
from dip_stages.store.statuses import CellStatus
from dip_stages.store.text import first_line
from dip_stages.sweep.interrupts import SweepInterrupts
from dip_stages.sweep.launching import LaunchLoop, job_of
from dip_stages.sweep.progress import SweepProgress
from dip_stages.sweep.summary import finish, nothing_to_do, print_submitted
from dip_stages.workers.run_folder import Run
from dip_stages.workers.slurm_queue import Queue

if TYPE_CHECKING:
    import signal
    from collections.abc import Sequence

    from dip_stages.store.states import Look
    from dip_stages.sweep.launching import Launch
    from dip_stages.sweep.plan import Plan, PlannedCell
    from dip_stages.sweep.plan_cache import CachedPlan

__all__ = ["Options", "check_devices", "compute_plan", "run_cached", "run_plan"]


@dataclass(frozen=True)
class Options:
    """How a plan is run.

    Attributes:
        command: The command that resumes the sweep, for people.
        retry_failed: Whether cells that failed before are run again.
        retry_damaged: Whether cells that are done are run again if a file of theirs is missing or altered.
        overwrite: Whether all cells are run again.
        retries: How many more times a cell that fails is tried now.
        cells_per_launch: Cells handed to the launcher at once; None for all.
        leave: Whether jobs on a cluster keep running when the driver is interrupted.
        detach: Whether they are left to the cluster as soon as they are submitted.
        elsewhere: Whether cells run on other machines, of whose devices this one knows nothing.
        gpus: The GPUs that workers are given, as in ``CUDA_VISIBLE_DEVICES``; None for all.
        wait: Seconds between two looks at the cells that another driver has.
        program: Whether this process is a driver and nothing else, which a second signal may end at once.
    """

    command: str = "python -m dip_stages -m"
    retry_failed: bool = False
    retry_damaged: bool = False
    overwrite: bool = False
    retries: int = 0
    cells_per_launch: int | None = None
    leave: bool = False
    detach: bool = False
    elsewhere: bool = False
    gpus: Sequence[str] | None = None
    wait: float = 1.0
    program: bool = True


def check_devices(plan: Plan, options: Options) -> None:
    """Check that this machine has the devices that are asked for, if a cell that is left to run computes here.

    Raises:
        MachineError: If it lacks one.
    """
    if options.elsewhere:
        return
    for accelerator in {planned.cell.config.runtime.accelerator: None for planned in plan.cells}:
        if asks(accelerator, options.gpus) and any(
            planned.cell.config.on_device
            and planned.cell.config.runtime.accelerator == accelerator
            and _to_run(planned.look(), options)
            for planned in plan.cells
        ):
            check_machine(accelerator, options.gpus)


def run_plan(plan: Plan, launch: Launch, options: Options) -> int:
    """Run the cells that are not done, write the report, and list what failed.

    Results are read from disk. From the launcher come only the reasons of jobs that left no record: a launcher loses
    its return values as soon as one job fails.

    Args:
        plan: The checked plan.
        launch: Runs the cells that it is given, with the number of the first and the run's token, and returns when they
            have ended: the reasons of jobs that failed outside their cells, by folder name.
        options: How.

    Returns:
        The exit code: 0 if every planned cell is done, or was left to a cluster; 1 if not; 128 and the signal's number
        after an interruption.

    Raises:
        LaunchError: If a cluster does not take the jobs.
    """
    looks, left = _begin(plan, options)
    if not left:
        return nothing_to_do(plan.name, plan.root, _named(plan, looks), options.command)
    for planned in left:
        _report_problem(planned, looks[planned.cell.id])
    if options.detach:
        return _submit(plan, left, looks, launch, options)
    with Run(plan.root) as run:
        interrupted = _compute(plan, left, looks, launch, options, run, progress=True)
        looks = {planned.cell.id: planned.look() for planned in plan.cells}
        code = finish(plan.root, _named(plan, looks), options.command, interrupted=interrupted is not None)
        if interrupted is None:
            run.clean()
    return code if interrupted is None else 128 + interrupted


def compute_plan(plan: Plan, launch: Launch, options: Options, *, progress: bool) -> None:
    """Run the cells that are not done, for a program that reads their records itself: no report, no list of failures.

    Args:
        plan: As for :func:`run_plan`.
        launch: As for :func:`run_plan`.
        options: How.
        progress: Whether bars, or lines where there is no terminal, are shown.

    Raises:
        LaunchError: If a cluster does not take the jobs.
        KeyboardInterrupt: After an interruption; the cells have written checkpoints.
    """
    looks, left = _begin(plan, options)
    if not left:
        return
    with Run(plan.root) as run:
        interrupted = _compute(plan, left, looks, launch, options, run, progress=progress)
        if interrupted is None:
            run.clean()
    if interrupted is not None:
        raise KeyboardInterrupt


def _begin(plan: Plan, options: Options) -> tuple[dict[str, Look], list[PlannedCell]]:
    """Write the plan, and return what the cells' folders show and which cells are to be run."""
    plan.write(options.command)
    looks = {planned.cell.id: planned.look(files=options.retry_damaged) for planned in plan.cells}
    return looks, [planned for planned in plan.cells if _to_run(looks[planned.cell.id], options)]


def _compute(
    plan: Plan,
    left: Sequence[PlannedCell],
    looks: dict[str, Look],
    launch: Launch,
    options: Options,
    run: Run,
    *,
    progress: bool,
) -> signal.Signals | None:
    """Launch cells until each has a record; return the signal that interrupted it, if one did."""
    to_run = [(p.folder, p.cell.id, p.iterations, looks[p.cell.id].digest) for p in left]
    shown = SweepProgress(to_run, already=len(plan.cells) - len(left)) if progress else nullcontext()
    with SweepInterrupts(run.stop_file, leave=options.leave, program=options.program) as interrupts, shown:
        LaunchLoop(left, looks, launch, options, run, interrupts).run()
    return interrupts.signal


def run_cached(plan: CachedPlan, options: Options) -> int | None:
    """Gather a sweep that was planned before, if there is nothing to run.

    Returns:
        The exit code, as :func:`run_plan` gives it; None if there is something to run, and nothing was done.
    """
    files = options.retry_damaged
    looks = [(folder, look(plan.root / folder, identity, files=files)) for folder, identity in plan.cells]
    if any(_to_run(found, options) for _, found in looks):
        return None
    return nothing_to_do(plan.name, plan.root, looks, options.command)


def _submit(plan: Plan, left: Sequence[PlannedCell], looks: dict[str, Look], launch: Launch, options: Options) -> int:
    """Leave cells to the cluster, except those that are in its queue already."""
    queued = Queue(plan.root).cells
    new = [planned for planned in left if planned.folder.name not in queued]
    if new:
        with Run(plan.root) as run:
            run.write(job_of(planned, looks[planned.cell.id].digest, run) for planned in new)
            launch(new, 0, run.token)
    print_submitted(plan.root, len(new), len(left) - len(new), options.command)
    return 0


def _named(plan: Plan, looks: dict[str, Look]) -> list[tuple[str, Look]]:
    return [(planned.folder.name, looks[planned.cell.id]) for planned in plan.cells]


def _to_run(found: Look, options: Options) -> bool:
    if found.state in (CellStatus.DONE, CellStatus.FAILED):
        failed = found.state == CellStatus.FAILED and options.retry_failed
        return options.overwrite or failed or bool(found.damaged)
    return True


def _report_problem(planned: PlannedCell, found: Look) -> None:
    if found.broken:
        sys.stderr.write(f"{found.broken}; set aside, the cell is computed again\n")
    elif found.damaged:
        sys.stderr.write(f"{planned.folder.name}: {', '.join(found.damaged)}; run again\n")
    elif found.state == CellStatus.LOST:
        sys.stderr.write(f"{planned.folder.name}: {first_line(found.reason)}; run again\n")
