"""Composes configurations with Hydra for what is no Hydra application, and leaves Hydra's state as it was."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf.errors import OmegaConfBaseException

from dip_stages.config.overrides import register_sweeps, typed_overrides
from dip_stages.config.paths import CONF_DIR
from dip_stages.config.plain import check_values, of_omegaconf, plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hydra._internal.hydra import Hydra
    from hydra.core.config_loader import ConfigLoader
    from hydra.plugins.launcher import Launcher
    from omegaconf import DictConfig

__all__ = ["HydraApart", "compose_apart", "hydra_apart"]

_one_thread = threading.RLock()
"""Hydra's state is the process's."""

_NONE: Mapping[str, str] = MappingProxyType({})


class HydraApart:
    """Hydra, initialised on the package's configuration.

    Args:
        hydra: Hydra's own object.

    Attributes:
        loader: Composes configurations.
    """

    def __init__(self, hydra: Hydra) -> None:
        self._hydra = hydra
        self.loader: ConfigLoader = hydra.config_loader

    def compose(
        self,
        overrides: Sequence[str],
        *,
        given: Sequence[str] = (),
        refused: Mapping[str, str] = _NONE,
        multirun: bool = False,
    ) -> DictConfig:
        """Return what overrides compose, with the section ``hydra``.

        Args:
            overrides: As typed on the command line.
            given: Overrides that the caller itself makes, before those.
            refused: Sections that the caller does not take, and why.
            multirun: Whether they are those of a sweep, whose axes are left out.

        Raises:
            ConfigError: If there is no such setting or option, or a value cannot be read.
        """
        typed = typed_overrides(overrides, refused, sweep=multirun)
        check_values(overrides, typed, sweep=multirun)
        mode = RunMode.MULTIRUN if multirun else RunMode.RUN
        try:
            return self._hydra.compose_config("config", [*given, *typed], run_mode=mode, from_shell=False)
        except HydraException as error:
            raise plain(error, [*given, *typed], refused) from error

    def launcher(self, config: DictConfig, task: Callable[[DictConfig], object]) -> Launcher:
        """Return the launcher of a sweep's configuration.

        Args:
            config: Composed for the sweep as a whole.
            task: What launchers run that are Hydra's own.
        """
        HydraConfig.instance().set_config(config)
        context = HydraContext(config_loader=self.loader, callbacks=None)  # type: ignore[arg-type]  # none are called
        return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)


@contextmanager
def hydra_apart() -> Iterator[HydraApart]:
    """Initialise Hydra on the package's configuration for a while, for one thread at a time.

    The caller may be a Hydra application.

    Raises:
        ConfigError: For what Hydra and OmegaConf raise in the meantime.
    """
    register_sweeps()
    with _one_thread:
        around, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
        settings, HydraConfig.instance().cfg = HydraConfig.instance().cfg, None
        try:
            with initialize_config_dir(str(CONF_DIR), job_name="dip_stages", version_base="1.3"):
                hydra = GlobalHydra.instance().hydra
                assert hydra is not None  # noqa: S101 - initialised
                yield HydraApart(hydra)
        except HydraException as error:
            raise plain(error, []) from error
        except OmegaConfBaseException as error:
            raise of_omegaconf(error) from error
        finally:
            GlobalHydra.instance().hydra = around
            HydraConfig.instance().cfg = settings


def compose_apart(
    overrides: Sequence[str], *, given: Sequence[str] = (), refused: Mapping[str, str] = _NONE
) -> DictConfig:
    """Return the configuration that overrides compose, as :meth:`HydraApart.compose` does."""
    with hydra_apart() as hydra:
        return hydra.compose(overrides, given=given, refused=refused)
