"""The command line: ``python -m dip_stages``. What is heavy is imported inside the task."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dip_stages.cell import Cell, cell_of, check_inputs
from dip_stages.config import CONF_DIR, SWEEPS_DIR, check_keys, parse
from dip_stages.errors import ConfigError, DipStagesError, RecordError
from dip_stages.records import read_record
from dip_stages.sweep.grids import value_override

__all__ = ["main", "task"]


def cell_folder(*, _root_: DictConfig) -> str:
    """Return the folder name of the composed cell: Hydra's ``${cell_folder:}``. Ends the program on a bad setting."""
    try:
        return _checked(_root_).folder
    except DipStagesError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)  # not an exception: OmegaConf would wrap it, and a slip is not worth a traceback


def _checked(composed: Any) -> Cell:
    cell = cell_of(parse(composed))
    check_inputs(cell)
    return cell


def task(composed: DictConfig) -> None:
    """Run the composed cell in Hydra's output folder.

    Raises:
        DipStagesError: If an input has changed since it was checked. Hydra then loses this job alone, where leaving the
            process would end the whole sweep.
    """
    cell = _checked(composed)
    hydra_config = HydraConfig.get()
    folder = Path(hydra_config.runtime.output_dir)
    if hydra_config.mode == RunMode.MULTIRUN:
        from dip_stages.runner import run_cell

        run_cell(cell, folder, threads=cell.config.runtime.threads)
    else:
        _run_single(cell, folder)


def _run_single(cell: Cell, folder: Path) -> None:
    from dip_stages.report import describe

    try:
        known = None if cell.config.runtime.overwrite else read_record(folder)
    except (FileNotFoundError, RecordError):
        known = None
    if known is None or known.status != "done":
        from dip_stages.progress import CellProgress
        from dip_stages.runner import run_cell

        with CellProgress(cell.folder) as progress:
            known = run_cell(cell, folder, threads=cell.config.runtime.threads, listener=progress)
    else:
        sys.stderr.write("computed before; runtime.overwrite=true computes it again\n")
    sys.stdout.write(describe(known, folder))
    if known.status != "done":
        sys.exit(1)


def _register() -> None:
    OmegaConf.register_new_resolver("cell_folder", cell_folder, replace=True)
    for file in sorted(SWEEPS_DIR.glob("*.yaml")):
        ConfigStore.instance().store(
            group="sweep", name=file.stem, node=OmegaConf.load(file), package="_global_", provider="sweeps"
        )


_register()
_hydra_main = hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="config")(task)


def main() -> None:
    """Run Hydra on ``sys.argv``, in which ``beta_max=0.05`` may be typed as the number it is."""
    sys.argv[1:] = [value_override(argument) for argument in sys.argv[1:]]
    try:
        check_keys(sys.argv[1:])
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
    _hydra_main()
