"""How fast fits are beside the published loop's, and how good: ``python -m tests.bench.speed``, or ``make bench``.

For each size, in turn and as often as there are seeds: the published loop (:mod:`tests.bench.published`); one cell of
ours, and the same in float32; and a sweep of cells that uses the whole machine. All of them fit the same observation
for the same number of iterations, on the same cores, in processes of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dip_stages.provenance import provenance
from dip_stages.records import Record, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable

SIZES = {(64, 32): 200, (128, 64): 100, (256, 128): 30}
"""Iterations of each picture's side and network's width."""
ON_GPU = {(64, 32): 1500, (128, 64): 1500, (256, 128): 600, (512, 128): 200}
CELLS = 8
TARGETS = {
    "cpu": {"cell": {(128, 64): 2.5, (256, 128): 3.5}, "sweep": {(128, 64): 3.5, (256, 128): 4.5}},
    "cuda": {"cell": {(128, 64): 5.0}, "sweep": {(128, 64): 15.0}},
}
"""How many times as fast as the published loop: one cell, and a sweep on the whole machine."""
QUALITY = 0.1
"""Decibels by which the mean may differ from float32's."""


def measured(arguments: list[str], folder: Path) -> tuple[str, float]:
    """Run a module and return what it said and its peak memory in MiB, its children's left out."""
    root = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{arguments}: exit code {process.returncode}\n{said[-3000:]}")
    return said, usage.ru_maxrss / 1024


def published(size: int, width: int, iterations: int, seed: int, device: str) -> dict[str, float]:
    given = {"size": size, "width": width, "iterations": iterations, "seed": seed, "threads": os.cpu_count()}
    arguments = [f"--{name}={value}" for name, value in given.items()]
    with tempfile.TemporaryDirectory() as folder:
        said, memory = measured(["tests.bench.published", *arguments, f"--device={device}"], Path(folder))
    return {**json.loads(said), "memory": memory}


def ours(size: int, width: int, iterations: int, seed: int, *, precision: str = "auto") -> dict[str, float]:
    """Return the figures of one cell on all cores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, memory = measured(["dip_stages", *settings(size, width, iterations, precision), f"seed={seed}"], folder)
        (record,) = records(folder)
    return figures([record]) | {"rate": 1 / record.timing["seconds_per_iteration"], "memory": memory}


def sweep(size: int, width: int, iterations: int, seed: int) -> dict[str, float]:
    """Return the figures of several cells side by side, from the first one's start to the last one's end."""
    seeds = f"seed=range({seed * CELLS},{(seed + 1) * CELLS})"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measured(["dip_stages", "-m", "sweep=custom", *settings(size, width, iterations, "auto"), seeds], folder)
        found = records(folder)
    begun, ended = (
        pick(datetime.fromisoformat(record.timing[key]) for record in found)
        for key, pick in (("started", min), ("finished", max))
    )
    assert len(found) == CELLS
    return figures(found) | {"rate": CELLS * iterations / (ended - begun).total_seconds()}


def settings(size: int, width: int, iterations: int, precision: str) -> list[str]:
    return [
        "method=baseline", "stopping=none", "logger=none", "arch=unet", f"arch.width={width}", f"data.size={size}",
        f"trainer.iterations={iterations}", f"trainer.precision={precision}",
    ]  # fmt: skip


def records(folder: Path) -> list[Record]:
    return [read_record(path.parent) for path in sorted(folder.rglob("record.json"))]


def figures(found: list[Record]) -> dict[str, float]:
    return {"psnr": statistics.mean(record.metrics["output"]["end"]["psnr"] for record in found if record.metrics)}


def bench(sizes: dict[tuple[int, int], int], seeds: int, device: str) -> list[dict[str, Any]]:
    rounds = []
    for (size, width), iterations in sizes.items():
        for seed in range(seeds):
            row: dict[str, Any] = {"size": size, "width": width, "iterations": iterations, "seed": seed}
            row["published"] = published(size, width, iterations, seed, device)
            row["cell"] = ours(size, width, iterations, seed)
            row["float32"] = ours(size, width, iterations, seed, precision="float32")
            row["sweep"] = sweep(size, width, iterations, seed)
            rounds.append(row)
            sys.stderr.write(f"{json.dumps(row)}\n")
    return rounds


def table(rounds: list[dict[str, Any]], device: str) -> tuple[str, list[str]]:
    """Return the table, and which targets were missed."""
    head = (
        "picture, width", "published (a)", "one cell (b)", f"{CELLS} cells (c)", "b / a", "c / a", "wanted",
        "MiB of a, b", "PSNR of a, b, b in float32", "b less float32",
    )  # fmt: skip
    lines = [line(head), "|:--|--:|--:|--:|:--|:--|:--|:--|:--|--:|"]
    missed = []
    for key in dict.fromkeys((row["size"], row["width"]) for row in rounds):
        rows = [row for row in rounds if (row["size"], row["width"]) == key]
        rates = {kind: [row[kind]["rate"] for row in rows] for kind in ("published", "cell", "sweep")}
        ratios = {
            kind: [ours / theirs for ours, theirs in zip(rates[kind], rates["published"], strict=True)]
            for kind in ("cell", "sweep")
        }
        wanted = {kind: TARGETS[device][kind].get(key) for kind in ratios}
        quality = {
            kind: statistics.mean(row[kind]["psnr"] for row in rows) for kind in ("published", "cell", "float32")
        }
        memory = [max(row[kind]["memory"] for row in rows) for kind in ("published", "cell")]
        lost = quality["cell"] - quality["float32"]
        name = f"{key[0]}², {key[1]}"
        cells = [name, *map(spread, rates.values()), *(f"**{spread(values)}**" for values in ratios.values())]
        cells += [", ".join(f"{value:g}" for value in wanted.values() if value) or "–"]
        cells += [f"{memory[0]:.0f}, {memory[1]:.0f}", ", ".join(f"{value:.2f}" for value in quality.values())]
        lines.append(line([*cells, f"{lost:+.2f}"]))
        missed += [
            f"{name}: {kind} {statistics.mean(ratios[kind]):.2f} of {value:g}"
            for kind, value in wanted.items()
            if value and statistics.mean(ratios[kind]) < value
        ]
        missed += [f"{name}: {lost:+.2f} dB from float32"] if abs(lost) > QUALITY else []
        missed += (
            [f"{name}: {memory[1]:.0f} MiB of {memory[0]:.0f}"] if device == "cpu" and memory[1] > memory[0] else []
        )
    return "\n".join(lines) + "\n", missed


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def spread(values: list[float]) -> str:
    return f"{statistics.mean(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", nargs="*", help="some of 64/32 128/64 256/128 (and 512/128 on a GPU)")
    parser.add_argument("--iterations", type=int, help="of every size; by default as many as a size needs")
    parser.add_argument("--table", type=Path, help="a Markdown file whose table is replaced; JSON goes beside it")
    given = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    all_sizes = ON_GPU if device == "cuda" else SIZES
    wanted = [tuple(map(int, size.split("/"))) for size in given.sizes or []] or list(all_sizes)
    sizes = {key: given.iterations or all_sizes[key] for key in all_sizes if key in wanted}
    rounds = bench(sizes, given.seeds, device)
    text, missed = table(rounds, device)
    how = provenance(device, bfloat16=False)
    text += f"\n{how['device']}, {os.cpu_count()} cores, torch {how['versions']['torch']}, {datetime.now():%d %B %Y}.\n"
    sys.stdout.write(text)
    if given.table:
        head, _, rest = given.table.read_text(encoding="utf-8").partition("| picture, width |")
        tail = rest.partition("\n\n")[2].partition("\n")[2]
        given.table.write_text(head + text + tail, encoding="utf-8")
        given.table.with_suffix(".json").write_text(json.dumps({"computed": how, "rounds": rounds}, indent=1) + "\n")
    if missed:
        sys.exit(f"targets missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
