from __future__ import annotations

from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dip_stages import train
from dip_stages.cells.identity import check_inputs
from dip_stages.config import extras, parse
from dip_stages.config.extras import check_extras, check_launcher
from dip_stages.denoise import compose_config
from dip_stages.errors import ConfigError, LaunchError
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import Compose, MakeCell

METHODS = [("bm3d", "bm3d"), ("ddpm", "diffusers")]


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else find_spec(name))


@pytest.mark.parametrize(("method", "package"), METHODS)
def test_a_missing_extra_of_a_method_is_named_with_the_command_that_installs_it(
    make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    without(package, monkeypatch)
    with refused(ConfigError, "method", got=method, problem=package, names=(f"pip install 'dip_stages[{method}]'",)):
        check_inputs(make_cell(f"method={method}"))
    check_inputs(make_cell("method=nlm"))


@pytest.mark.parametrize(("method", "package"), METHODS)
def test_other_commands_than_sweeps_check_extras_too(
    monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    without(package, monkeypatch)
    with refused(ConfigError, "method", got=method, problem=package):
        compose_config(Path("x.png"), [f"method={method}"])


def test_a_training_checks_its_extra_first(monkeypatch: pytest.MonkeyPatch) -> None:
    without("diffusers", monkeypatch)
    with refused(ConfigError, "method", got="ddpm", problem="diffusers"):
        train._train_and_draw(["data=file", "data.path=nowhere.png"])


@pytest.mark.parametrize("extra", ["tensorboard", "wandb", "mlflow"])
def test_a_missing_extra_of_a_logger_is_named_with_what_needs_none(
    composing: Compose, monkeypatch: pytest.MonkeyPatch, extra: str
) -> None:
    config = parse(composing(f"logger={extra}"))
    without(extra, monkeypatch)
    with refused(ConfigError, "logger", got=extra, names=(f"pip install 'dip_stages[{extra}]'", "logger=csv")):
        check_extras(config)


def test_an_extra_is_looked_for_at_each_check(composing: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(composing("logger=wandb"))
    with monkeypatch.context() as patched:
        patched.setattr(extras, "find_spec", lambda _: ModuleSpec("there", None))
        check_extras(config)
    without("wandb", monkeypatch)
    with refused(ConfigError, "logger", got="wandb"):
        check_extras(config)


def test_mlflow_asks_where_its_server_is(composing: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda _: ModuleSpec("there", None))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    config = parse(composing("logger=mlflow"))
    names = ("logger.tracking_uri=http", "MLFLOW_TRACKING_URI")
    with refused(ConfigError, "logger.tracking_uri", got=None, names=names):
        check_extras(config)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    check_extras(config)


def test_a_launcher_whose_package_is_missing_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without("ray", monkeypatch)
    names = ("pip install 'dip_stages[ray]'",)
    with refused(LaunchError, "hydra/launcher", got="RayLauncher", problem="needs ray", names=names):
        check_launcher("hydra_plugins.dip_stages.ray_launcher.RayLauncher")
    check_launcher("hydra_plugins.dip_stages.slurm_launcher.SlurmLauncher")
    check_launcher("hydra_plugins.dip_stages.local_launcher.LocalLauncher")
    check_launcher("hydra_plugins.somebody.elses.Launcher")
