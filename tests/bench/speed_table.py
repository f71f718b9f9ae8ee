"""The table of :mod:`tests.bench.speed`, and the targets that its ratios are compared with."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

CELLS = 8
"""Of the sweep."""
TARGETS = {
    "cpu": {"cell": {(128, 64): 2.5, (256, 128): 3.5}, "sweep": {(128, 64): 3.5, (256, 128): 4.5}},
    "cuda": {"cell": {(128, 64): 5.0}, "sweep": {(128, 64): 15.0}},
}
"""Wanted ratios to the published loop's speed: of one cell, and of a sweep on the whole machine."""
QUALITY = 0.1
"""Largest difference of the mean PSNR to float32's, in dB."""


def table(rounds: list[dict[str, Any]], device: str) -> tuple[str, list[str]]:
    """Return the table, and which targets were missed."""
    head = (
        "image, width", "published (a)", "one cell (b)", f"{CELLS} cells (c)", "b / a", "c / a", "wanted",
        "MiB of a, b", "PSNR of a, b, b in float32", "b less float32",
    )  # fmt: skip
    lines = [line(head), "|:--|--:|--:|--:|:--|:--|:--|:--|:--|--:|"]
    missed = []
    for key in dict.fromkeys((row["size"], row["width"]) for row in rounds):
        summary = Summary.of([row for row in rounds if (row["size"], row["width"]) == key], key, device)
        lines.append(line(summary.cells()))
        missed += summary.missed(device)
    return "\n".join(lines) + "\n", missed


@dataclass(frozen=True)
class Summary:
    """The rounds of one size.

    Attributes:
        name: Size and width, as the table shows them.
        rates: Iterations a second of each round, by kind of run.
        ratios: Rates of one cell and of a sweep, divided by the published loop's of the same round.
        wanted: The targets of these ratios; None without one.
        psnr: Mean PSNR in dB, by kind of run.
        memory: Peak memory in MiB of the published loop and of one cell.
    """

    name: str
    rates: dict[str, list[float]]
    ratios: dict[str, list[float]]
    wanted: dict[str, float | None]
    psnr: dict[str, float]
    memory: tuple[float, float]

    @classmethod
    def of(cls, rows: list[dict[str, Any]], key: tuple[int, int], device: str) -> Summary:
        rates = {kind: [row[kind]["rate"] for row in rows] for kind in ("published", "cell", "sweep")}
        return cls(
            name=f"{key[0]}², {key[1]}",
            rates=rates,
            ratios={
                kind: [ours / theirs for ours, theirs in zip(rates[kind], rates["published"], strict=True)]
                for kind in ("cell", "sweep")
            },
            wanted={kind: TARGETS[device][kind].get(key) for kind in ("cell", "sweep")},
            psnr={
                kind: statistics.mean(row[kind]["psnr"] for row in rows) for kind in ("published", "cell", "float32")
            },
            memory=(
                max(row["published"]["memory"] for row in rows),
                max(row["cell"]["memory"] for row in rows),
            ),
        )

    @property
    def change(self) -> float:
        """Of the PSNR to float32's, in dB."""
        return self.psnr["cell"] - self.psnr["float32"]

    def cells(self) -> list[str]:
        ratios = [f"**{spread(values)}**" for values in self.ratios.values()]
        wanted = ", ".join(f"{value:g}" for value in self.wanted.values() if value) or "–"
        memory = f"{self.memory[0]:.0f}, {self.memory[1]:.0f}"
        psnr = ", ".join(f"{value:.2f}" for value in self.psnr.values())
        return [self.name, *map(spread, self.rates.values()), *ratios, wanted, memory, psnr, f"{self.change:+.2f}"]

    def missed(self, device: str) -> list[str]:
        """Return the targets that were missed."""
        missed = [
            f"{kind} {statistics.mean(self.ratios[kind]):.2f} of {value:g}"
            for kind, value in self.wanted.items()
            if value and statistics.mean(self.ratios[kind]) < value
        ]
        if abs(self.change) > QUALITY:
            missed.append(f"{self.change:+.2f} dB from float32")
        if device == "cpu" and self.memory[1] > self.memory[0]:
            missed.append(f"{self.memory[1]:.0f} MiB of {self.memory[0]:.0f}")
        return [f"{self.name}: {target}" for target in missed]


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ({min(values):.2f}–{max(values):.2f})"
