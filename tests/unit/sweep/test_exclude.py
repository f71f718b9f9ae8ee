from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dip_stages.errors import ConfigError
from dip_stages.sweep.exclude import Rule, points_left
from tests.planning import a_composer
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import Compose

POINT = ("method=staged", "arch=dncnn", "loss=perceptual", "noise.beta_max=0.05", "trainer.lr=0.1")


@pytest.mark.parametrize(
    ("axes", "left_out"),
    [
        ({"arch": "dncnn"}, True),
        ({"arch": "unet"}, False),
        ({"arch": ["unet", "dncnn"], "loss": ["mse", "perceptual"]}, True),
        ({"arch": ["unet", "dncnn"], "loss": ["mse"]}, False),
        ({"loss": "perceptual_pretrained"}, False),
        # Axes that the point does not name.
        ({"scheduler": "linear", "seed": 0}, True),
        ({"scheduler": "scaled_linear"}, False),
        ({"arch.width": 64, "data.name": "rocket", "data": "bundled"}, True),
        ({"arch.width": [8, 16]}, False),
        ({"loss.path": None}, True),
        ({"average.debias": True}, True),
        ({"average.debias": "true"}, True),
        ({"average.debias": 1}, False),
        # Numbers, in any notation.
        ({"trainer.lr": 0.10}, True),
        ({"trainer.lr": "1e-1"}, True),
        ({"trainer.lr": 1}, False),
        ({"beta_max": 0.05}, True),
        ({"beta_max": "0.05"}, True),
        ({"noise.beta_max": [0.01, 0.05]}, True),
        ({"beta_max": ["b0.01", 0.02]}, False),
    ],
    ids=str,
)
def test_a_rule_matches_what_a_point_has_chosen_itself_or_by_default(
    composing: Compose, axes: dict[str, Any], *, left_out: bool
) -> None:
    del composing
    composer, _ = a_composer([POINT])
    assert Rule(axes, composer).matches(POINT) is left_out


@pytest.mark.parametrize("rule", ["b0.02", 0.02, "0.02"])
@pytest.mark.parametrize("point", ["beta_max=b0.02", "noise.beta_max=0.02", "noise.beta_max=2e-2"])
def test_a_noise_level_is_one_however_rule_and_point_write_it(composing: Compose, rule: object, point: str) -> None:
    del composing
    composer, _ = a_composer([(point,), ("seed=1",)])
    assert Rule({"beta_max": rule}, composer).matches((point,))
    assert not Rule({"beta_max": rule}, composer).matches(("seed=1",))


def test_what_the_baseline_ignores_matches_nothing(composing: Compose) -> None:
    del composing
    points = [("method=baseline", "loss=mse", "scheduler=linear"), ("method=staged", "loss=mse", "scheduler=linear")]
    composer, _ = a_composer(points)
    for axes in ({"loss": "mse"}, {"scheduler": "linear"}, {"method.input": ["fixed_noise", "previous_output"]}):
        assert [Rule(axes, composer).matches(point) for point in points] == [False, True], axes
    assert Rule({"method": "baseline"}, composer).matches(points[0])


def test_a_point_that_could_not_be_composed_can_be_left_out(composing: Compose) -> None:
    del composing
    grids = [{"arch": ["arch=unet", "arch=dncnn"], "arch.depth": ["arch.depth=4", "arch.depth=5"]}]
    composer, loader = a_composer([("arch=unet", "arch.depth=4")])
    left = points_left(grids, {}, [[{"arch": "unet", "arch.depth": [4, 5]}]], composer)
    assert left == [("arch=dncnn", "arch.depth=4"), ("arch=dncnn", "arch.depth=5")]
    assert loader.composed == {}


def test_a_grids_rules_are_its_own(composing: Compose) -> None:
    del composing
    grids = [{"arch": ["arch=unet", "arch=dncnn"]}, {"arch": ["arch=dncnn"], "loss": ["loss=mse"]}]
    composer, _ = a_composer([("arch=unet",)])
    left = points_left(grids, {"seed": ["seed=1"]}, [[{"arch": "dncnn"}], []], composer)
    assert left == [("arch=unet", "seed=1"), ("arch=dncnn", "loss=mse", "seed=1")]


@pytest.mark.parametrize(
    ("axes", "got", "names"),
    [
        ({"arhc": "unet"}, ..., ("arch, average, beta_max, ", "seed, noise_seed, and sett")),
        ({"arch": "dncn"}, "dncn", ("dncnn, resnet, unet",)),
        ({"arch.widht": 3}, ..., ("name, width",)),
        ({"network.width": 3}, ..., ("arch, ", "arch.width")),
        ({"sweep": "smoke"}, ..., ("arch, ", "arch.width")),
        ({"hydra.job.name": "x"}, ..., ("arch, ", "arch.width")),
        ({"beta_max": "b3"}, "b3", ("b0.01, b0.02",)),
        ({}, {}, ()),
    ],
    ids=str,
)
def test_a_rule_about_nothing_is_refused(
    composing: Compose, axes: dict[str, Any], got: object, names: tuple[str, ...]
) -> None:
    del composing
    composer, _ = a_composer([POINT])
    with refused(ConfigError, ": ".join(("sweep.exclude", *axes)), got=got, names=names):
        Rule(axes, composer)


def test_leaving_out_everything_is_refused(composing: Compose) -> None:
    del composing
    composer, _ = a_composer([("arch=unet",)])
    with refused(ConfigError, "sweep.exclude", problem="all 2 points"):
        points_left([{"arch": ["arch=unet", "arch=dncnn"]}], {}, [[{"seed": 0}]], composer)
    assert points_left([], {}, [], composer) == []
