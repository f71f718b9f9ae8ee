"""A plan as text, before anything runs: its cells, their states, and a rough cost. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.cells.flops import flops
from dip_stages.cells.identity import AXES
from dip_stages.names import printable
from dip_stages.report.labels import axis_labels
from dip_stages.store.statuses import CellStatus
from dip_stages.store.text import plural
from dip_stages.sweep.formatting import counts, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dip_stages.store.states import Look
    from dip_stages.sweep.plan import Plan, PlannedCell

    Column = tuple[str, list[str]]

__all__ = ["list_plan", "listing", "pace"]

_UNITS = {"GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15}
_ENDED = (CellStatus.DONE, CellStatus.FAILED)
_AXIS_OF = {
    "noise.beta_max": "beta_max",
    "method.input": "input",
    "data": "image",
    "data.name": "image",
    "data.path": "image",
    "data.index": "image",
}
"""Other names of an axis in overrides."""


def list_plan(plan: Plan) -> str:
    """Return a plan as :func:`listing` does, with what the folders of its cells show."""
    looks = [(planned, planned.look()) for planned in plan.cells]
    return listing([(planned, found.state) for planned, found in looks], pace(looks))


def listing(cells: Sequence[tuple[PlannedCell, str]], seconds_per_flop: float | None = None) -> str:
    """Return a line for each cell, and the cost of all that are left.

    Values that all cells share are listed above the table, whose columns are those in which cells differ.

    Args:
        cells: The planned cells, each with its :class:`~dip_stages.store.statuses.CellStatus`.
        seconds_per_flop: How long an operation took in cells that are done, for a rough time; None if none is done.

    Raises:
        ImageError: If an image, whose size counts, cannot be used.
    """
    planned = [cell for cell, _ in cells]
    costs = [flops(cell.cell.config) for cell in planned]
    unit, size = _unit(max(costs, default=0))
    axes = _axes(planned)
    columns = [
        ("state", [state for _, state in cells]),
        *((name, values) for name, values in axes if len(set(values)) > 1),
        ("iterations", [str(cell.iterations) for cell in planned]),
        (unit, [f"{cost / size:,.2f}" for cost in costs]),
        ("folder", [cell.folder.name for cell in planned]),
    ]
    shared = [f"{name} {values[0]}" for name, values in axes if len(set(values)) == 1 and values[0] != "–"]
    left = sum(cost for cost, (_, state) in zip(costs, cells, strict=True) if state not in _ENDED)
    above = [f"in every cell: {', '.join(shared)}"] if shared else []
    total = f"{plural(len(cells), 'cell')}: {counts(state for _, state in cells)}"
    return "\n".join([*above, *_table(columns), total, _left(left, seconds_per_flop), ""])


def pace(cells: Sequence[tuple[PlannedCell, Look]]) -> float | None:
    """Return the seconds that an operation took in the cells that are done; None if none is."""
    done = [(planned, found.record) for planned, found in cells if found.state == CellStatus.DONE and found.record]
    costs = [(flops(planned.cell.config), record.timing["seconds"] or 0.0) for planned, record in done]
    costs = [(cost, seconds) for cost, seconds in costs if cost]  # competitors have no cost
    return sum(seconds for _, seconds in costs) / sum(cost for cost, _ in costs) if costs else None


def _axes(planned: Sequence[PlannedCell]) -> list[Column]:
    """Return the cells' axes, then other overrides in which cells differ."""
    labels = [axis_labels(cell.cell.axes) for cell in planned]
    columns = [(axis, [_text(label[axis]) for label in labels]) for axis in AXES]
    rows = list(zip(*(values for _, values in columns), strict=True))
    for key, values in _overrides(planned):
        if len(set(values)) == 1:
            continue
        # Another name of an axis is left out, unless it separates cells that the axis does not: unet, unet_published.
        named = _AXIS_OF.get(key, key.removesuffix(".name"))
        finer = list(zip(rows, values, strict=True))
        if named not in AXES or len(set(finer)) > len(set(rows)):
            columns.append((f"{key}=" if key in AXES else key, values))
    return columns


def _overrides(planned: Sequence[PlannedCell]) -> Iterable[Column]:
    given = [dict(override.split("=", 1) for override in cell.overrides if "=" in override) for cell in planned]
    keys = dict.fromkeys(key for overrides in given for key in overrides)
    return [(key, [printable(overrides.get(key, "–")) for overrides in given]) for key in keys]


def _text(value: object) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else printable(value)


def _table(columns: Sequence[Column]) -> list[str]:
    numeric = {name for name, _ in columns if name == "iterations" or name in _UNITS}
    padded = []
    for name, values in columns:
        width = max(map(len, [name, *values]))
        align = str.rjust if name in numeric else str.ljust
        padded.append([align(value, width) for value in (name, *values)])
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]


def _left(cost: float, seconds_per_flop: float | None) -> str:
    unit, size = _unit(cost)
    # At most: what checkpoints save is not known here.
    text = f"left to compute: at most {cost / size:,.2f} {unit}"
    if seconds_per_flop is None or not cost:
        return text
    return f"{text}, about {duration(cost * seconds_per_flop)} for one worker at the rate of the cells that are done"


def _unit(largest: float) -> tuple[str, float]:
    """Return the largest unit in which the number is at least 1."""
    return next(((name, size) for name, size in reversed(_UNITS.items()) if largest >= size), ("GFLOP", 1e9))
