"""Fixtures for all tests: configurations composed by Hydra, cells, and the real command line."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Protocol

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hypothesis import settings

import dip_stages.cli  # noqa: F401 - registers the sweeps and the resolver
from dip_stages.cell import Cell, cell_of
from dip_stages.config import CONF_DIR, parse

# A shared machine stalls now and then: a test that took long once is not a failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from omegaconf import DictConfig

    Compose = Callable[..., DictConfig]
    MakeCell = Callable[..., Cell]


class CommandLine(Protocol):
    """Runs ``python -m dip_stages…`` in a folder."""

    def __call__(self, *arguments: str, module: str = "dip_stages") -> subprocess.CompletedProcess[str]: ...


@pytest.fixture(scope="session")
def composing() -> Iterator[Compose]:
    """Compose as the command line does."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield lambda *overrides: compose("config", overrides=list(overrides))


@pytest.fixture(scope="session")
def make_cell(composing: Compose) -> MakeCell:
    """Make a tiny cell from overrides."""
    return lambda *overrides: cell_of(parse(composing("preset=smoke", *overrides)))


@pytest.fixture
def hydra_apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test initialise Hydra and register configs of its own; what other tests share is as it was afterwards."""
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", copy.deepcopy(store.repo))
    shared, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    yield
    GlobalHydra.instance().hydra = shared  # of the instance that is there now: Hydra puts others in its place


@pytest.fixture
def run(tmp_path: Path) -> CommandLine:
    """Run the command line in an empty folder, one thread a process."""
    return command_line(tmp_path)


def command_line(folder: Path) -> CommandLine:
    """Return what runs the command line in a folder, one thread a process."""

    def command(*arguments: str, module: str = "dip_stages") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return command
