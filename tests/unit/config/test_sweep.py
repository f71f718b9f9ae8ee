from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.config import parse_sweep
from dip_stages.errors import ConfigError
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import Compose


def test_the_sweeps_own_settings(composing: Compose) -> None:
    options = parse_sweep(composing("sweep=smoke"))
    assert (options.name, options.plan_only, options.retry_failed, options.retries) == ("smoke", False, False, 0)
    assert (options.on_interrupt, options.exclude) == ("stop", ())
    given = ("sweep.plan_only=true", "sweep.retries=3", "sweep.on_interrupt=leave", "sweep.name=7")
    options = parse_sweep(composing(*given, "sweep.exclude=[{arch: dncnn, loss: [mse]}]"))
    assert (options.name, options.plan_only, options.retries) == ("7", True, 3)
    assert options.on_interrupt == "leave"
    assert options.exclude == ({"arch": "dncnn", "loss": ["mse"]},)


@pytest.mark.parametrize(
    ("override", "got", "way"),
    [
        ("sweep.name=null", None, "letters"),
        ("sweep.name=..", "..", "letters"),
        ("sweep.name=a/b", "a/b", "letters"),
        ("sweep.plan_only=yes_please", "yes_please", "true, false"),
        ("sweep.retry_failed=1", 1, "true, false"),
        ("sweep.retries=-1", -1, ">= 0"),
        ("sweep.retries=true", True, ">= 0"),
        ("sweep.retries=1.5", 1.5, ">= 0"),
        ("sweep.retries=[1]", [1], ">= 0"),
        ("sweep.plan_only=[false]", [False], "true, false"),
        ("sweep.name=[abc]", ["abc"], "letters"),
        ("sweep.on_interrupt=[stop]", ["stop"], "stop, leave"),
        ("sweep.on_interrupt=wait", "wait", "stop, leave"),
        ("sweep.exclude=dncnn", "dncnn", "a list of mappings"),
        ("sweep.exclude=[dncnn]", ["dncnn"], "a list of mappings"),
        ("+sweep.exlude=[]", ..., "exclude, grids"),
        ("+sweep.run=1-a", ..., "exclude, grids"),
        ("sweep.name=models", "models", "another name"),
        ("~sweep.name", None, "letters"),
    ],
)
def test_a_bad_setting_of_a_sweep_is_named(composing: Compose, override: str, got: object, way: str) -> None:
    with refused(ConfigError, override.strip("+~").partition("=")[0], got=got, names=(way,)):
        parse_sweep(composing(override))


def test_an_interpolation_of_a_sweep_that_leads_nowhere_is_named(composing: Compose) -> None:
    with refused(ConfigError, "sweep.name", problem="'nowhere'"):
        parse_sweep(composing("sweep.name=${nowhere}"))
