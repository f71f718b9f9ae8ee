"""The command line: ``dip-stages``, or ``python -m dip_stages``. Slow imports are inside the task."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dip_stages.cells.identity import Cell, cell_of, check_inputs
from dip_stages.cells.machine import check_machine
from dip_stages.config import CONF_DIR, parse
from dip_stages.config.overrides import register_sweeps, typed_overrides
from dip_stages.config.plain import check_values, of_omegaconf, plain
from dip_stages.console import program
from dip_stages.errors import CellError, ConfigError, DipStagesError, LaunchError
from dip_stages.images.folders import notes
from dip_stages.names import printable
from dip_stages.store.records import read_record
from dip_stages.store.states import recorded
from dip_stages.store.statuses import CellStatus, OutcomeStatus, RecordStatus
from dip_stages.store.text import os_reason

if TYPE_CHECKING:
    import argparse

    from dip_stages.workers.jobs import Job
    from dip_stages.workers.protocol import Outcome

__all__ = ["Preparation", "main", "task"]


def cell_folder(*, _root_: DictConfig) -> str:
    """Return the folder name of the composed cell: ``${cell_folder:}`` in Hydra. Ends the program on a bad setting."""
    try:
        return _checked(_root_).folder
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)  # not an exception: OmegaConf would wrap it, and Hydra print a traceback


def _checked(composed: Any) -> Cell:
    # A task is given its config without `hydra`.
    of_task = HydraConfig.initialized() and "hydra" not in composed
    cell = cell_of(parse(composed, HydraConfig.get().runtime.choices if of_task else None))
    check_inputs(cell)
    return cell


class Preparation(Callback):
    """Checks a launcher's package and a single cell's device, and makes its folder, before Hydra needs them."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """End the program where the launcher's package is not installed, before Hydra fails to find its class."""
        from dip_stages.config.extras import check_launcher

        try:
            check_launcher(str(config.hydra.launcher.get("_target_", "")))
        except LaunchError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        """Make the folder, unless this machine lacks the device that is asked for."""
        folder = Path(config.hydra.run.dir)
        try:
            cell = _checked(config)
            if cell.config.on_device and _is_left(cell, folder):
                check_machine(cell.config.runtime.accelerator)
        except DipStagesError as error:
            sys.stderr.write(f"{error}\n")
            sys.exit(2)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            sys.stderr.write(f"{printable(folder)}: cannot be written to: {os_reason(error)}\n")
            sys.exit(2)  # not an exception: Hydra turns those of callbacks into warnings


def task(composed: DictConfig) -> dict[str, Any] | float | None:
    """Run the composed cell in Hydra's output folder; in a sweep, the cell that was planned for that folder.

    Returns:
        In a sweep that was planned, the cell's :class:`~dip_stages.workers.protocol.Outcome` as plain values; under
        another sweeper, its objective.

    Raises:
        DipStagesError: If an input has changed since it was checked.
    """
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    if hydra_config.mode == RunMode.MULTIRUN:
        token = OmegaConf.select(composed, "sweep.run")
        if token is None:
            return _run_asked(composed, folder)
        return _run_planned(Path(hydra_config.sweep.dir), token, folder).plain()
    _run_single(_checked(composed), folder)
    return None


def _run_planned(root: Path, token: str, folder: Path) -> Outcome:
    """Compute the job that was planned for a folder."""
    from dip_stages.workers.jobs import read_job
    from dip_stages.workers.protocol import Outcome
    from dip_stages.workers.run_folder import job_path

    try:
        job = read_job(job_path(root, token, folder.name))
    except FileNotFoundError:
        return Outcome(OutcomeStatus.INTERRUPTED, "its sweep was stopped before it began")
    if job.stop and Path(job.stop).exists():
        return Outcome(OutcomeStatus.INTERRUPTED, "asked to stop before it began")
    return _run_job(job)


def _run_asked(composed: DictConfig, folder: Path) -> float:
    """Compute a cell that another sweeper asks for, unless it has a record, and return its objective."""
    from dip_stages.sweep.asked import AskedCell, note_clean

    cell = _checked(composed)
    asked = AskedCell.of(composed, cell, folder)
    note_clean(asked.objective)
    return asked.value(_run_job(asked.job()).message if asked.left else "")


def _run_job(job: Job) -> Outcome:
    """Compute a job, in a worker process unless the launcher runs its jobs in the driver."""
    from dip_stages.workers.main import compute
    from dip_stages.workers.protocol import StopFlag
    from dip_stages.workers.slot import own_slot

    if HydraConfig.get().launcher.get("_target_", "").endswith(".BasicLauncher"):
        return compute(job, StopFlag())
    return own_slot(job.config["runtime"]["threads"]).run(job)


def _is_left(cell: Cell, folder: Path) -> bool:
    return cell.config.runtime.overwrite or recorded(folder, cell.id).state != CellStatus.DONE


def _run_single(cell: Cell, folder: Path) -> None:
    from dip_stages.report import describe

    sys.stderr.writelines(f"{message}\n" for message in (*notes(cell.config.folders), *cell.config.unmet))
    if _is_left(cell, folder):
        from dip_stages.sweep.foreground import run_single

        record = run_single(cell, folder)
    else:
        record = read_record(folder)
        sys.stderr.write("computed before; runtime.overwrite=true computes it again\n")
    sys.stdout.write(describe(record, folder))
    if record.status != RecordStatus.DONE:
        sys.exit(1)


OmegaConf.register_new_resolver("cell_folder", cell_folder, replace=True)
OmegaConf.register_new_resolver("program", program, replace=True)  # of the help
register_sweeps()
_hydra_main = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(task)


def main() -> None:
    """Run Hydra on ``sys.argv``; what is wrong is said in one line."""
    traceback = os.environ.get("HYDRA_FULL_ERROR")
    typed: list[str] = []
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are raised here, and not printed by Hydra
    try:
        if not {"-sc", "--shell-completion"} & {*sys.argv}:  # what follows is for Hydra's completion
            flags, typed = _flags_and_overrides(sys.argv[1:])
            sys.argv[1:] = [*flags, *typed]
        _hydra_main()
    except DipStagesError as error:
        if traceback:
            raise
        sys.stderr.write(f"{error}\n")
        sys.exit(1 if isinstance(error, CellError) else 2)
    except HydraException as error:
        if traceback:
            raise
        sys.stderr.write(f"{plain(error, typed)}\n")
        sys.exit(2)
    except OmegaConfBaseException as error:
        if traceback:
            raise
        sys.stderr.write(f"{of_omegaconf(error)}\n")
        sys.exit(2)
    finally:
        if traceback is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = traceback


def _flags_and_overrides(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return Hydra's flags, which may be anywhere, and the overrides as Hydra takes them.

    Raises:
        ConfigError: If a flag, a key or a value is not right.
    """
    parser = get_args_parser()

    def refuse(message: str) -> NoReturn:
        raise ConfigError(message, allowed=f"-m for a sweep, and the flags that {program()} --hydra-help lists")

    parser.error = refuse  # type: ignore[method-assign]
    given = parser.parse_intermixed_args(arguments)
    overrides, flags = list(given.overrides), list(arguments)
    for override in overrides:
        flags.remove(override)
    _check_flags(given)
    if given.cfg == "hydra" and given.resolve:  # Hydra removes the settings that its folders are made of
        kept = [flag for flag in flags if flag not in ("-c", "--cfg", "hydra", "--cfg=hydra")]
        flags = [*kept, "--cfg", "all", "--package", "hydra"]
    for_grids = given.multirun and not any(typed.startswith("hydra/sweeper=") for typed in overrides)
    typed = typed_overrides(overrides, folders=flags, sweep=for_grids)
    check_values(overrides, typed, sweep=given.multirun)
    return flags, typed


def _check_flags(given: argparse.Namespace) -> None:
    """Check that flags go together, and with the overrides."""
    if given.multirun and (given.cfg or given.info or given.run):
        allowed = "one of them; sweep.plan_only=true lists the cells of a sweep"
        raise ConfigError("-m is given with --cfg, --info or --run", allowed=allowed)
    of_sweeps = [typed for typed in given.overrides if re.match(r"sweep[.=]|hydra[/.](launcher|sweeper)\b", typed)]
    if of_sweeps and not (given.multirun or given.cfg or given.info or given.help or given.hydra_help):
        setting = of_sweeps[0].partition("=")[0]
        raise ConfigError(f"is for sweeps; to type: {program()} -m {of_sweeps[0]}", setting=setting)
    if given.config_dir and not Path(given.config_dir).is_dir():
        problem = ", which is no folder"
        raise ConfigError(problem, setting="--config-dir", got=given.config_dir, allowed="one that is there")
