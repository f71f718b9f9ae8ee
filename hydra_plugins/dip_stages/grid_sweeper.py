"""The sweeper: a named sweep's grids, together with the command line, run on the chosen launcher.

Thin and torch-free: Hydra imports this module at every start of every Hydra application.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


# Cells handed to the launcher at once, for clusters that bound an array job; null for all. A plain mapping:
# Hydra's scan runs this file before it is a module, which a dataclass does not survive.
ConfigStore.instance().store(
    group="hydra/sweeper",
    name="grids",
    node={"_target_": "hydra_plugins.dip_stages.grid_sweeper.GridSweeper", "max_batch_size": None},
    provider="dip_stages",
)


class GridSweeper(Sweeper):
    """Runs a sweep that is a list of grids."""

    def __init__(self, max_batch_size: int | None = None) -> None:
        self.max_batch_size = max_batch_size

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Store the config and make the launcher."""
        self.config: DictConfig = config
        self.hydra_context: HydraContext = hydra_context
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Plan, run what is left, report; exits with 1 if a cell failed.

        Raises:
            DipStagesError: If the plan is not right.
            HydraException: If Hydra cannot compose a point.
        """
        from dip_stages.console import command
        from dip_stages.names import printable
        from dip_stages.store.text import os_reason
        from dip_stages.sweep.drive import run_cached, run_plan
        from dip_stages.sweep.listing import list_plan
        from dip_stages.sweep.session import SweepSession

        plan_only = bool(self.config.sweep.plan_only)
        session = SweepSession(
            self.config,
            self.hydra_context.config_loader,
            self.launcher,
            arguments,
            command=command(),
            cells_per_launch=self.max_batch_size,
        )
        cached = None if plan_only else session.cached()
        code = run_cached(cached, session.options) if cached else None
        if code is None:
            plan = session.plan(to_run=not plan_only)
            if plan_only:
                sys.stdout.write(list_plan(plan))
                return
            try:
                code = run_plan(plan, session.launch, session.options)
            except OSError as error:
                sys.stderr.write(f"{printable(plan.root)}: cannot be written to: {os_reason(error)}\n")
                code = 2
        if code:
            sys.exit(code)
