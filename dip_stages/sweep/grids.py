"""From grids to points: pure functions on override strings such as ``arch=unet``."""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["expand", "with_competitors"]


def expand(
    grids: Sequence[Mapping[str, Sequence[str]]],
    given: Mapping[str, Sequence[str]],
    left_out: Callable[[int, tuple[str, ...]], bool] = lambda _grid, _point: False,
) -> list[tuple[str, ...]]:
    """Return the points of a sweep: the union of its grids, in order, without duplicates.

    Args:
        grids: Each maps an axis to its overrides, one for each value.
        given: The command line's axes, likewise: each replaces the axis of a grid, or is added if the grid lacks it.
        left_out: Returns, for a grid's number and a point, whether the grid leaves it out; another may still have it.

    Returns:
        The points, each a tuple of overrides.

    Example:
        >>> grids = [{"arch": ["arch=unet", "arch=dncnn"]}, {"loss": ["loss=mse"]}]
        >>> expand(grids, {"arch": ["arch=resnet"]})
        [('arch=resnet',), ('loss=mse', 'arch=resnet')]
    """
    points: dict[tuple[str, ...], None] = {}
    for number, grid in enumerate(grids):
        axes = {**grid, **given}
        points.update((point, None) for point in itertools.product(*axes.values()) if not left_out(number, point))
    return list(points)


_OF_OBSERVATION = ("data", "noise", "beta_max", "noise_seed", "seed", "preset", "runtime", "outputs", "sweep", "hydra")
"""The sections that change a competitor's result, besides its own settings."""


def with_competitors(
    points: Sequence[tuple[str, ...]], competitors: Sequence[tuple[str, ...]]
) -> list[tuple[str, ...]]:
    """Return the points of a sweep, followed by those of competitors on the same observations.

    Args:
        points: From :func:`expand`.
        competitors: The overrides of each.

    Example:
        >>> with_competitors([("arch=unet", "seed=0"), ("arch=dncnn", "seed=0")], [("method=tv",)])
        [('arch=unet', 'seed=0'), ('arch=dncnn', 'seed=0'), ('seed=0', 'method=tv')]
    """
    observations = dict.fromkeys(tuple(part for part in point if _section(part) in _OF_OBSERVATION) for point in points)
    return [*points, *((*point, *competitor) for competitor in competitors for point in observations)]


def _section(override: str) -> str:
    return re.split(r"[.=@/]", override.lstrip("+~"), maxsplit=1)[0]
