"""Cells and sweeps from a program, a notebook or another package, with the overrides of the command line."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from dip_stages.api.arguments import as_overrides
from dip_stages.api.threads import threads_kept
from dip_stages.cells.identity import AXES, cell_of, check_inputs
from dip_stages.cells.machine import check_machine
from dip_stages.cli import task
from dip_stages.config import parse
from dip_stages.config.compose import hydra_apart
from dip_stages.config.extras import check_launcher
from dip_stages.console import quoted
from dip_stages.errors import ConfigError, Interrupted
from dip_stages.report import load
from dip_stages.store.records import read_record
from dip_stages.store.states import recorded
from dip_stages.store.statuses import CellStatus
from dip_stages.sweep.drive import compute_plan
from dip_stages.sweep.progress import CellProgress
from dip_stages.sweep.session import SweepSession

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    from omegaconf import DictConfig

    from dip_stages.store.records import Record

__all__ = ["plan_sweep", "run_cell", "run_sweep"]


def run_cell(overrides: Sequence[str] = (), *, progress: bool = False) -> Record:
    """Compute one cell in this process, or read its record if it is done; as ``python -m dip_stages`` does.

    Args:
        overrides: As typed on the command line, such as ``["method=baseline", "data.name=coffee"]``.
        progress: Whether to show a bar, or lines where there is no terminal, on the standard error.

    Returns:
        The :class:`~dip_stages.store.records.Record`, whose ``status`` is done or failed. The cell's folder, with its
        images and curves, is ``<outputs>/single/<record.cell["folder"]>``.

    Raises:
        ConfigError: If an override is not right.
        ImageError: If the image cannot be used.
        MachineError: If this machine lacks the device that is asked for.
        LeaseError: If another process computes the cell.
        KeyboardInterrupt: After an interruption; a checkpoint is left, and the same call resumes.
        OSError: If the record cannot be written.

    Example:
        >>> from dip_stages import run_cell
        >>> record = run_cell(["preset=smoke", "trainer.iterations=20"])
        >>> record.status, record.iterations["run"]
        (<RecordStatus.DONE: 'done'>, 20)
        >>> record.metrics["result"]["psnr"] > 5
        True
    """
    with hydra_apart() as hydra:
        composed = hydra.compose(as_overrides(overrides))
        cell = cell_of(parse(composed))
        folder = Path(composed.outputs) / "single" / cell.folder
    check_inputs(cell)
    if not cell.config.runtime.overwrite and recorded(folder, cell.id).state == CellStatus.DONE:
        return read_record(folder)
    if cell.config.on_device:
        check_machine(cell.config.runtime.accelerator)
    from dip_stages.sweep.foreground import compute_single

    shown = CellProgress(cell.folder) if progress else nullcontext(lambda *_: None)
    with threads_kept(), shown as on_progress:
        try:
            return compute_single(cell, folder, on_progress)
        except Interrupted as error:  # a KeyboardInterrupt that Lightning took
            raise KeyboardInterrupt from error


def plan_sweep(overrides: Sequence[str] = ()) -> pd.DataFrame:
    """Plan a sweep and check all of it, and run nothing; as ``sweep.plan_only=true`` does.

    Args:
        overrides: As typed behind ``python -m dip_stages -m``, such as ``["sweep=custom", "arch=unet,dncnn"]``.

    Returns:
        A row a cell, in the planned order: ``folder``, ``state`` (what its folder shows), the axes, ``iterations``,
        ``overrides``.

    Raises:
        ConfigError: If an override, a grid or a point is not right.
        ImageError: If an image cannot be used.
        MachineError: If this machine lacks the device that is asked for.

    Example:
        >>> from dip_stages import plan_sweep
        >>> plan = plan_sweep(["sweep=custom", "preset=smoke", "method=baseline", "seed=0,1"])
        >>> plan[["method", "seed", "iterations"]].values.tolist()
        [['baseline', 0, 40], ['baseline', 1, 40]]
    """
    import pandas as pd

    with _session(overrides) as session:
        plan = session.plan(to_run=False)
    return pd.DataFrame(
        {
            "folder": str(planned.folder),
            "state": str(planned.look().state),
            **{axis: planned.cell.axes[axis] for axis in AXES},
            "iterations": planned.iterations,
            "overrides": planned.overrides,
        }
        for planned in plan.cells
    )


def run_sweep(overrides: Sequence[str] = (), *, progress: bool = False) -> pd.DataFrame:
    """Run what is left of a sweep on its launcher, and return its cells; as ``python -m dip_stages -m`` does.

    Cells are computed in processes of their own, and each writes its record: an interrupted sweep is resumed by the
    same call, or by the command. The report is not written; :func:`dip_stages.report.gather` writes it.

    Args:
        overrides: As typed behind ``python -m dip_stages -m``.
        progress: Whether to show bars, or lines where there is no terminal, on the standard error.

    Returns:
        The planned cells, a row each, failed ones too, as :func:`dip_stages.load_report` returns them.

    Raises:
        ConfigError: If an override, a grid or a point is not right.
        ImageError: If an image cannot be used.
        MachineError: If this machine lacks the device that is asked for.
        LaunchError: If the launcher's package is not installed, or a cluster does not take the jobs.
        KeyboardInterrupt: After an interruption; cells have written checkpoints.
        OSError: If the sweep's folder cannot be written to.

    Example:
        >>> from dip_stages import run_sweep
        >>> frame = run_sweep(["sweep=custom", "preset=smoke", "method=baseline", "trainer.iterations=4", "seed=0,1"])
        >>> frame[["seed", "status"]].values.tolist()
        [[0, 'done'], [1, 'done']]
    """
    with _session(overrides) as session:
        plan = session.plan(to_run=True)
    compute_plan(plan, session.launch, session.options, progress=progress)
    frame = load(plan.root)
    return frame[frame.planned].reset_index(drop=True)


@contextmanager
def _session(overrides: Sequence[str]) -> Iterator[SweepSession]:
    overrides = as_overrides(overrides)
    with hydra_apart() as hydra:
        config = hydra.compose(overrides, multirun=True)
        check_launcher(str(config.hydra.launcher.get("_target_", "")))
        _check_session(config)
        yield SweepSession(
            config,
            hydra.loader,
            hydra.launcher(config, task),
            list(config.hydra.overrides.task),
            command=" ".join(["python -m dip_stages -m", *map(quoted, overrides)]),
            program=False,
        )


def _check_session(config: DictConfig) -> None:
    """Check that what is asked for is what a program gets."""
    if config.sweep.detach:
        raise ConfigError(" in a program", setting="sweep.detach", got=True, allowed="false")
    if config.sweep.plan_only:
        raise ConfigError(" in a program", setting="sweep.plan_only", got=True, allowed="dip_stages.plan_sweep(…)")
    if (sweeper := config.hydra.runtime.choices["hydra/sweeper"]) != "grids":
        raise ConfigError(
            " in a program", setting="hydra/sweeper", got=sweeper, allowed="grids, which it is by default"
        )
