"""A plan as text, before anything runs: which cells, what is known of each, and a rough cost. Torch-free."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from dip_stages.cells.flops import flops
from dip_stages.cells.identity import AXES
from dip_stages.store.statuses import CellStatus
from dip_stages.sweep.progress import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from dip_stages.store.states import Look
    from dip_stages.sweep.plan import PlannedCell

    Column = tuple[str, list[str]]

__all__ = ["listing", "pace"]

_UNITS = {"GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15}
_AXIS_OF = {
    "noise.beta_max": "beta_max",
    "method.input": "input",
    "data": "image",
    "data.name": "image",
    "data.path": "image",
    "data.index": "image",
}
"""What else an axis is called in overrides."""


def listing(cells: Sequence[tuple[PlannedCell, str]], seconds_per_flop: float | None = None) -> str:
    """Return a line a cell, and what is left in all.

    What all cells share is said once, above; a column is a thing in which they differ.

    Args:
        cells: The planned cells, each with its state.
        seconds_per_flop: How long an operation took in cells that are done, for a rough time; None if there is none.

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
    left = sum(cost for cost, (_, state) in zip(costs, cells, strict=True) if state not in ("done", "failed"))
    above = [f"in every cell: {', '.join(shared)}"] if shared else []
    counts = Counter(state for _, state in cells)
    return "\n".join([*above, *_table(columns), _counts(counts), _left(left, seconds_per_flop), ""])


def pace(cells: Sequence[tuple[PlannedCell, Look]]) -> float | None:
    """Return the seconds that an operation took in the cells that are done; None if none is."""
    done = [(planned, found.record) for planned, found in cells if found.state == "done" and found.record]
    costs = [(flops(planned.cell.config), record.timing["seconds"] or 0.0) for planned, record in done]
    costs = [(cost, seconds) for cost, seconds in costs if cost]  # a competitor has none, whatever time it takes
    return sum(seconds for _, seconds in costs) / sum(cost for cost, _ in costs) if costs else None


def _axes(planned: Sequence[PlannedCell]) -> list[Column]:
    """Return the cells' axes, then what else their overrides tell them apart by."""
    columns = [(axis, [_text(cell.cell.axes[axis]) for cell in planned]) for axis in AXES]
    rows = list(zip(*(values for _, values in columns), strict=True))
    for key, values in _overrides(planned):
        if len(set(values)) == 1:
            continue
        # An axis of another name says nothing new, but where two options have one name: unet and unet_published.
        named = _AXIS_OF.get(key, key.removesuffix(".name"))
        finer = list(zip(rows, values, strict=True))
        if named not in AXES or len(set(finer)) > len(set(rows)):
            columns.append((f"{key}=" if key in AXES else key, values))
    return columns


def _overrides(planned: Sequence[PlannedCell]) -> Iterable[Column]:
    given = [dict(override.split("=", 1) for override in cell.overrides if "=" in override) for cell in planned]
    keys = dict.fromkeys(key for overrides in given for key in overrides)
    return [(key, [overrides.get(key, "–") for overrides in given]) for key in keys]


def _text(value: object) -> str:
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _table(columns: Sequence[Column]) -> list[str]:
    numeric = {name for name, _ in columns if name == "iterations" or name in _UNITS}
    padded = []
    for name, values in columns:
        width = max(map(len, [name, *values]))
        align = str.rjust if name in numeric else str.ljust
        padded.append([align(value, width) for value in (name, *values)])
    return ["  ".join(row).rstrip() for row in zip(*padded, strict=True)]


def _counts(counts: Counter[str]) -> str:
    said = [f"{counts[state]} {state}" for state in CellStatus if counts[state]]
    return f"{counts.total()} {'cell' if counts.total() == 1 else 'cells'}: {', '.join(said)}"


def _left(cost: float, seconds_per_flop: float | None) -> str:
    unit, size = _unit(cost)
    # Failed cells are left alone, and a checkpoint saves a part that the plan does not know.
    said = f"left to compute: at most {cost / size:,.2f} {unit}"
    if seconds_per_flop is None or not cost:
        return said
    return f"{said}, about {duration(cost * seconds_per_flop)} for one worker at the rate of the cells that are done"


def _unit(largest: float) -> tuple[str, float]:
    """Return the largest unit that leaves something before the point."""
    return next(((name, size) for name, size in reversed(_UNITS.items()) if largest >= size), ("GFLOP", 1e9))
