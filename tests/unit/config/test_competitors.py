"""The settings of competitors, and what a competitor assumes of the noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dip_stages.errors import ConfigError
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import MakeCell


def test_another_noise_than_a_competitor_assumes_is_reported(make_cell: MakeCell) -> None:
    unmet = make_cell("method=bm3d", "noise=poisson").config.unmet
    assert unmet == ("noise=poisson: method=bm3d assumes Gaussian noise of one variance",)


@pytest.mark.parametrize(
    ("overrides", "setting", "got", "way"),
    [
        (("method=nlm", "method.sigma=guess"), "method.sigma", "guess", "known, estimate"),
        (("method=nlm", "method.patch=0"), "method.patch", 0, "a number >= 1"),
        (("method=ddpm", "method.training.crop=30"), "method.training.crop", 30, "a multiple of 4"),
        (("method=ddpm", "method.training.width=12"), "method.training.width", 12, "a multiple of 8"),
        (("method=ddpm", "method.training.sizes=[16]"), "method.training.sizes", [16], "32"),
        (("method=ddpm", "method.training.pictures=[coffee]"), "method.training.pictures", ["coffee"], "2"),
        (("method=ddpm", "method.training.pictures=[coffee,coffee]"), "method.training.pictures", ["coffee"] * 2, "2"),
        (("method=ddpm", "method.training.source=folder"), "method.training.path", ..., ""),
    ],
)
def test_bad_settings_are_named(
    make_cell: MakeCell, overrides: tuple[str, ...], setting: str, got: object, way: str
) -> None:
    with refused(ConfigError, setting, got=got, names=(way,)):
        make_cell(*overrides)
