from __future__ import annotations

import copy
import gc
import logging
import math
import os
import pickle
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from dip_stages import errors
from dip_stages.errors import ConfigError, DipStagesError, DivergenceError, ImageError, check_choice, check_range
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import CommandLine

KINDS = [getattr(errors, name) for name in errors.__all__ if not name.startswith("check_")]


def all_fields(kind: type[DipStagesError]) -> DipStagesError:
    error = kind(" with protocol=renoised", setting="loss.reference", got="clean", allowed="target")
    error.where = "typed: seed=1"
    return error


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (DipStagesError(), ""),
        (DipStagesError("asked to stop"), "asked to stop"),
        (DipStagesError("no such file", setting=Path("x.png")), "x.png: no such file"),
        (DipStagesError("no noise", allowed="noise.beta_max=…"), "no noise; allowed: noise.beta_max=…"),
        (DipStagesError(setting="seed", got=None, allowed="a number"), "seed: got None; allowed: a number"),
        (DipStagesError(setting="seed", got="", allowed="a number"), "seed: got ''; allowed: a number"),
        (DipStagesError(" stages", got=3, allowed="one"), "got 3 stages; allowed: one"),
        (DipStagesError(", which lacks it", setting="device", got="tpu"), "device: got 'tpu', which lacks it"),
        (DipStagesError(setting="path", got=Path("a/b")), "path: got a/b"),
        (DipStagesError(setting="sizes", got=["a", 1]), "sizes: got ['a', 1]"),
    ],
)
def test_an_error_is_one_sentence_of_its_fields(error: DipStagesError, sentence: str) -> None:
    assert str(error) == sentence
    assert repr(error) == f"DipStagesError({sentence!r})"


def test_where_a_sweep_has_an_error_is_its_end() -> None:
    error = all_fields(ConfigError)
    assert str(error) == "loss.reference: got 'clean' with protocol=renoised; allowed: target; typed: seed=1"
    assert ConfigError("x").where is None


@pytest.mark.parametrize("kind", KINDS)
def test_errors_cross_processes_and_are_copied_with_their_fields(kind: type[DipStagesError]) -> None:
    error = DivergenceError(20, math.inf, 10) if kind is DivergenceError else all_fields(kind)
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(twin) is kind
        assert vars(twin) == vars(error)
        assert (str(twin), twin.args) == (str(error), error.args)
    nothing_got = pickle.loads(pickle.dumps(ImageError("no such file", setting="x.png")))  # noqa: S301
    assert nothing_got.got is ...


def test_a_divergence_keeps_its_own_fields() -> None:
    error = DivergenceError(20, 1.5, 10)
    assert (error.iteration, error.loss, error.last_good) == (20, 1.5, 10)
    assert "iteration 20 (loss 1.5)" in str(error)
    assert (error.setting, error.got, error.allowed) == (None, ..., None)


def test_checks_name_the_setting_the_value_and_what_is_allowed() -> None:
    check_choice("loss.name", "mse", ("mse", "perceptual"))
    with refused(ConfigError, "loss.name", got="l1", allowed="mse, perceptual"):
        check_choice("loss.name", "l1", ("mse", "perceptual"))
    check_range("x", 1, at_least=1, at_most=1)
    with refused(ConfigError, "x", got=math.nan, allowed="a number that is finite"):
        check_range("x", math.nan)
    with refused(ConfigError, "x", got=2, allowed="a number >= 0 and < 2"):
        check_range("x", 2, at_least=0, below=2)


def process(folder: Path, loggers: list[logging.Logger]) -> list[object]:
    return [
        os.environ.copy(),
        list(sys.argv),
        Path.cwd(),
        gc.isenabled(),
        [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        {logger.name: (list(logger.handlers), logger.level, logger.propagate, logger.disabled) for logger in loggers},
        HydraConfig.instance().cfg,
        GlobalHydra.instance().hydra,
        folder.exists(),
    ]


def test_a_command_in_this_process_leaves_it_as_it_was(command_in_process: CommandLine, tmp_path: Path) -> None:
    command_in_process("--version")  # all imports are done once
    every = logging.root.manager.loggerDict.values()
    loggers = [logging.root, *(logger for logger in every if isinstance(logger, logging.Logger))]
    before = process(tmp_path, loggers)
    done = command_in_process("-m", "sweep=custom", "method=baseline", "sweep.plan_only=true", "hydra.verbose=true")
    assert (done.returncode, "1 to do" in done.stdout) == (0, True), done.stderr
    refusal = command_in_process("nowhere", module="dip_stages.report")
    assert (refusal.returncode, refusal.stdout) == (2, "")
    assert process(tmp_path, loggers) == before
