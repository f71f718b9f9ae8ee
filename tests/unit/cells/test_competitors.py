"""Competitors are cells like all others, with an identity of what matters to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.cells.flops import flops
from dip_stages.cells.identity import AXES

if TYPE_CHECKING:
    from tests.conftest import MakeCell


@pytest.mark.parametrize(
    "override",
    [
        "arch=dncnn",
        "seed=7",
        "trainer.iterations=9",
        "loss=perceptual",
        "protocol=clean",
        "scheduler=scaled_linear",
        "stopping=oracle",
        "average=none",
        "monitors=all",
        "ensemble.members=3",
        "runtime.threads=2",
    ],
)
def test_settings_of_fits_do_not_change_a_competitors_identity(make_cell: MakeCell, override: str) -> None:
    assert make_cell("method=nlm", override).id == make_cell("method=nlm").id


@pytest.mark.parametrize(
    "override",
    ["noise_seed=1", "beta_max=b0.02", "noise=speckle", "data.name=camera", "method.sigma=estimate", "method.patch=3"],
)
def test_observation_and_own_settings_change_its_identity(make_cell: MakeCell, override: str) -> None:
    assert make_cell("method=nlm", override).id != make_cell("method=nlm").id


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("seed=1", True),
        ("method.samples=1", True),
        ("method.reverse=mean", True),
        ("method.training.iterations=9", True),
        ("method.training.pictures=[astronaut,coffee]", True),
        ("method.model=somewhere", False),
        ("method.training.path=unused", False),
        ("method.training.rows=7", False),
        ("arch=dncnn", False),
    ],
)
def test_a_trained_competitor_is_identified_by_its_seed_and_its_training(
    make_cell: MakeCell, override: str, *, differs: bool
) -> None:
    assert (make_cell("method=ddpm", override).id != make_cell("method=ddpm").id) == differs


def test_it_has_no_axes_but_those_of_the_observation(make_cell: MakeCell) -> None:
    cell = make_cell("method=tv", "method.sigma=estimate")
    assert cell.axes["method"] == "tv"
    assert {axis for axis in AXES if cell.axes[axis] is not None} == {
        "method", "beta_max", "noise", "image", "noise_seed",
    }  # fmt: skip
    assert make_cell("method=ddpm").axes["method"] == "ddpm"
    assert make_cell("method=ddpm", "seed=3").axes["seed"] == 3
    assert make_cell("method=ddpm").folder.startswith("ddpm-b0.01-rocket-s0-")
    mean = make_cell("method=ddpm_mean", "seed=3")
    assert (mean.axes["method"], mean.axes["seed"]) == ("ddpm_mean", None)
    assert mean.folder == f"ddpm_mean-b0.01-rocket-{mean.id}"
    assert mean.id == make_cell("method=ddpm_mean", "method.samples=1").id  # it draws nothing
    assert (cell.config.iterations, flops(cell.config)) == (0, 0)
    assert not make_cell("method=tv", "stopping=oracle", "protocol=clean").config.sees_clean
