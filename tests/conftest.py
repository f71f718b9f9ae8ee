"""Fixtures for all tests: configurations composed by Hydra, cells, and the real command line."""

from __future__ import annotations

import base64
import copy
import gc
import importlib
import logging
import os
import signal
import subprocess
import sys
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hypothesis import settings
from matplotlib.figure import Figure

import dip_stages.cli  # noqa: F401 - registers the sweeps and the resolver
from dip_stages import plotting
from dip_stages.cells.identity import Cell, cell_of
from dip_stages.config import CONF_DIR, parse
from tests.hub import write_butterflies
from tests.lab import forget
from tests.planning import Composing, shared_hydra

# A shared machine stalls now and then: a test that took long once is not a failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from omegaconf import DictConfig

    Compose = Callable[..., DictConfig]
    MakeCell = Callable[..., Cell]


class CommandLine(Protocol):
    """Runs ``python -m dip_stages…``, or a script such as ``dip-stages-report``, in a folder."""

    def __call__(self, *arguments: str, module: str = "dip_stages") -> subprocess.CompletedProcess[str]: ...


_SAVE, _PLOT_CURVE = plotting.save, plotting.plot_curve
_BLANK = {
    ".png": base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEAsTj2FAAAAABJRU5ErkJggg=="
    ),
    ".svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>\n',
}


def _leave_blank(figure: Figure, path: Path, **how: object) -> None:
    del figure, how
    path.write_bytes(_BLANK[path.suffix])


class _Doctests:
    """A fixture for doctests of the package, which this file's own fixtures do not reach."""

    @pytest.fixture(autouse=True)
    def _in_an_empty_folder(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        if isinstance(request.node, pytest.DoctestItem) and request.node.name.startswith("dip_stages.api."):
            monkeypatch.chdir(request.getfixturevalue("tmp_path"))


def pytest_configure(config: pytest.Config) -> None:
    """Register what also holds for tests outside of this folder."""
    config.pluginmanager.register(_Doctests())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let what takes longest begin first, so that it does not run alone at the end."""
    items.sort(key=lambda item: not any(mark.kwargs.get("first") for mark in item.iter_markers("slow")))


@pytest.fixture(scope="session", autouse=True)
def blank() -> Iterator[None]:
    """Leave figures blank, which take longer to draw than a tiny fit; ``drawn`` is for the tests that look at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plotting, "save", _leave_blank)
        patch.setattr("dip_stages.cells.outputs.plot_curve", lambda path, *_: _leave_blank(Figure(), path))
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw figures as they are."""
    monkeypatch.setattr(plotting, "save", _SAVE)
    monkeypatch.setattr("dip_stages.cells.outputs.plot_curve", _PLOT_CURVE)


@pytest.fixture
def unplotted(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Leave the blank figures of a report without even composing them, which takes longer than all the rest."""
    from dip_stages.report import write

    def left_blank(*arguments: Any) -> bool:
        plotting.publish(Figure(), arguments[-1])
        return True

    if "drawn" not in request.fixturenames:
        for name in ("plot_curves", "plot_details", "plot_gaps", "plot_sheet", "plot_grid", "plot_effects"):
            monkeypatch.setattr(write, name, left_blank)


@pytest.fixture
def text_alone(unplotted: None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Write no page either, for tests of what a sweep does and says."""
    del unplotted  # in force while this is
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr("dip_stages.report.write.write_page", lambda _root, _frame, path, **_: path.touch())


@pytest.fixture(scope="session")
def composing() -> Iterator[Compose]:
    """Compose as the command line does."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        yield Composing(shared_hydra().config_loader)


@pytest.fixture(scope="session")
def make_cell(composing: Compose) -> MakeCell:
    """Make a tiny cell from overrides."""
    return lambda *overrides: cell_of(parse(composing("preset=smoke", *overrides)))


@pytest.fixture
def hydra_apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a test initialise Hydra and register configs of its own; what other tests share is as it was afterwards."""
    Plugins.instance()  # which registers, once in a process, what is to stay
    store = ConfigStore.instance()
    monkeypatch.setattr(store, "repo", copy.deepcopy(store.repo))
    shared, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    yield
    GlobalHydra.instance().hydra = shared  # of the instance that is there now: Hydra puts others in its place


@pytest.fixture
def command_in_process(
    hydra_apart: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> CommandLine:
    """Run the command line in an empty folder, as ``run`` does, but in this process: without the seconds of a start.

    What a command does to a process of its own is undone. It is to end by itself: a sweep's workers are processes.
    """
    del hydra_apart

    def command(*arguments: str, module: str = "dip_stages") -> subprocess.CompletedProcess[str]:
        module = module.replace("dip-stages", "dip_stages").replace("-", ".")
        rooms = {"dip_stages": "dip_stages.cli", "dip_stages.report": "dip_stages.report.__main__"}
        main = importlib.import_module(rooms.get(module, module)).main
        capsys.readouterr()
        code: object = 0
        with monkeypatch.context() as patch, _process_kept():
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", [f"{module}/__main__.py", *arguments])
            patch.setattr(HydraConfig.instance(), "cfg", None)
            patch.setenv("GLIBC_TUNABLES", "")  # what is set of glibc's memory would stay
            # To configure logging again closes every handler in these two, pytest's too.
            patch.setattr(logging, "_handlers", weakref.WeakValueDictionary())
            patch.setattr(logging, "_handlerList", [])
            try:
                main()
            except SystemExit as left:
                code = 0 if left.code is None else left.code
        captured = capsys.readouterr()
        if isinstance(code, int):
            return subprocess.CompletedProcess([module, *arguments], code, captured.out, captured.err)
        return subprocess.CompletedProcess([module, *arguments], 1, captured.out, f"{captured.err}{code}\n")

    return command


@contextmanager
def _process_kept() -> Iterator[None]:
    """Put logging, signal handlers, garbage collection and the path back to what they were."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    loggers = {logger: _log_settings(logger) for logger in _loggers()}
    collects, path = gc.isenabled(), sys.path[:]
    try:
        yield
    finally:
        sys.path[:] = path
        forget()
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for logger in _loggers():
            kept, level, logger.propagate, logger.disabled = loggers.get(logger, ([], logging.NOTSET, True, False))
            for made in set(logger.handlers) - set(kept):
                made.close()
            logger.handlers[:] = kept
            logger.setLevel(level)
        if collects:
            gc.enable()


def _loggers() -> list[logging.Logger]:
    return [logging.root, *(it for it in logging.root.manager.loggerDict.values() if isinstance(it, logging.Logger))]


def _log_settings(logger: logging.Logger) -> tuple[list[logging.Handler], int, bool, bool]:
    return list(logger.handlers), logger.level, logger.propagate, logger.disabled


@pytest.fixture(scope="session")
def butterflies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the course report's columns, as parquet files."""
    folder = tmp_path_factory.mktemp("hub") / "smithsonian_butterflies_subset"
    folder.mkdir()
    return write_butterflies(folder)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of downloads, empty, so that no test reads or fills the user's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    return tmp_path / "cache"


@pytest.fixture
def run(tmp_path: Path) -> CommandLine:
    """Run the command line in an empty folder, one thread a process."""
    return command_line(tmp_path)


def started_by(module: str) -> list[str]:
    """Return what starts a script, or a module with ``python -m``."""
    script = str(Path(sys.executable).with_name(module))
    return [script] if module.startswith("dip-stages") else [sys.executable, "-m", module]


def command_line(folder: Path) -> CommandLine:
    """Return what runs the command line in a folder, one thread a process."""

    def command(*arguments: str, module: str = "dip_stages") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*started_by(module), *arguments],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "default"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return command
