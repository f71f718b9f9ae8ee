from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from dip_stages.sweep.grids import expand

axes = st.dictionaries(
    st.sampled_from("abcd"), st.lists(st.integers(0, 3).map(str), min_size=1, max_size=3, unique=True), max_size=4
)


def test_grids_are_united_without_duplicates() -> None:
    grids = [{"a": ["a=1", "a=2"]}, {"a": ["a=2", "a=3"]}]
    assert expand(grids, {}) == [("a=1",), ("a=2",), ("a=3",)]


def test_a_given_axis_replaces_the_grids_and_is_added_where_it_is_not() -> None:
    grids = [{"arch": ["arch=unet", "arch=dncnn"], "loss": ["loss=mse"]}, {"loss": ["loss=mse", "loss=perceptual"]}]
    points = expand(grids, {"arch": ["arch=resnet"], "seed": ["seed=0", "seed=1"]})
    assert points == [
        ("arch=resnet", "loss=mse", "seed=0"),
        ("arch=resnet", "loss=mse", "seed=1"),
        ("loss=mse", "arch=resnet", "seed=0"),
        ("loss=mse", "arch=resnet", "seed=1"),
        ("loss=perceptual", "arch=resnet", "seed=0"),
        ("loss=perceptual", "arch=resnet", "seed=1"),
    ]


@given(grid=axes, given_axes=axes)
def test_a_grid_has_the_product_of_its_axes(grid: dict[str, list[str]], given_axes: dict[str, list[str]]) -> None:
    points = expand([grid], given_axes)
    assert len(points) == len(set(points)) == math.prod(len(values) for values in {**grid, **given_axes}.values())
