"""How fast fits are beside the published loop's, and how good: ``python -m tests.bench.speed``, or ``make bench``.

For each size, in turn and as often as there are seeds: the published loop (:mod:`tests.bench.published`); one cell of
ours, and the same in float32; and a sweep of cells that uses the whole machine. All of them fit the same observation
for the same number of iterations, on the same cores, in processes of their own.

``--into docs/performance.md`` puts the tables of all kinds of machines into that page, this one's anew, and the figures
beside it. ``--guard`` compares one cell alone with the published loop, and fails if its lead over it has fallen by more
than a quarter since it was recorded there.
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

from dip_stages.cells.hardware import wants_bfloat16
from dip_stages.store.provenance import provenance
from dip_stages.store.records import Record, read_record

if TYPE_CHECKING:
    from collections.abc import Iterable

SIZES = {(64, 32): 400, (128, 64): 100, (256, 128): 10}
"""Iterations of each image's side and network's width."""
ON_GPU = {(64, 32): 1500, (128, 64): 1500, (256, 128): 600, (512, 128): 200}
CELLS = 8
TARGETS = {
    "cpu": {"cell": {(128, 64): 2.5, (256, 128): 3.5}, "sweep": {(128, 64): 3.5, (256, 128): 4.5}},
    "cuda": {"cell": {(128, 64): 5.0}, "sweep": {(128, 64): 15.0}},
}
"""How many times as fast as the published loop: one cell, and a sweep on the whole machine."""
QUALITY = 0.1
"""Decibels by which the mean may differ from float32's."""
GUARDED, GUARD_ROUNDS, FALL = (64, 32), 4, 0.25
"""Size and rounds of the guard, and the part of the recorded ratio that may be lost."""
RECORDED = Path(__file__).resolve().parents[2] / "docs" / "performance.json"
BEGIN, END = "<!-- tables: written by make bench -->", "<!-- end of tables -->"


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
    return figures([record]) | {"rate": 1 / (record.timing["seconds_per_iteration"] or 0), "memory": memory}


def sweep(size: int, width: int, iterations: int, seed: int, *, together: int) -> dict[str, float]:
    """Return the figures of several cells side by side, from the first one's start to the last one's end."""
    seeds = f"seed=range({seed * CELLS},{(seed + 1) * CELLS})"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = [*settings(size, width, iterations, "auto"), seeds, f"hydra.launcher.together={together}"]
        measured(["dip_stages", "-m", "sweep=custom", *given], folder)
        found = records(folder)
        ends = [path.stat().st_mtime for path in sorted(folder.rglob("record.json"))]
    assert len(found) == CELLS
    begun = min(end - (record.timing["seconds"] or 0) for end, record in zip(ends, found, strict=True))
    return figures(found) | {"rate": CELLS * iterations / (max(ends) - begun)}


def settings(size: int, width: int, iterations: int, precision: str) -> list[str]:
    return [
        "method=baseline", "stopping=none", "logger=none", "arch=unet", f"arch.width={width}", f"data.size={size}",
        f"trainer.iterations={iterations}", f"trainer.precision={precision}",
    ]  # fmt: skip


def records(folder: Path) -> list[Record]:
    return [read_record(path.parent) for path in sorted(folder.rglob("record.json"))]


def figures(found: list[Record]) -> dict[str, float]:
    return {"psnr": statistics.mean(record.metrics["output"]["end"]["psnr"] for record in found if record.metrics)}


def bench(sizes: dict[tuple[int, int], int], seeds: int, device: str, *, whole: bool = True) -> list[dict[str, Any]]:
    """Return the rounds, a dictionary each; without ``whole``, of the published loop and one cell alone."""
    rounds = []
    for (size, width), iterations in sizes.items():
        for seed in range(seeds):
            row: dict[str, Any] = {"size": size, "width": width, "iterations": iterations, "seed": seed}
            row["published"] = published(size, width, iterations, seed, device)
            row["cell"] = ours(size, width, iterations, seed)
            if whole:
                row["float32"] = ours(size, width, iterations, seed, precision="float32")
                row["sweep"] = sweep(size, width, iterations, seed, together=CELLS if device == "cuda" else 1)
            rounds.append(row)
            sys.stderr.write(f"{json.dumps(row)}\n")
    return rounds


def table(rounds: list[dict[str, Any]], device: str) -> tuple[str, list[str]]:
    """Return the table, and which targets were missed."""
    head = (
        "image, width", "published (a)", "one cell (b)", f"{CELLS} cells (c)", "b / a", "c / a", "wanted",
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


def kind_of(device: str) -> str:
    """Return what decides how fast fits are: the device, and on a CPU its precision."""
    return device if device == "cuda" else f"{device}, {'bfloat16' if wants_bfloat16('auto', device) else 'float32'}"


def lead(rounds: list[dict[str, Any]], size: tuple[int, int]) -> float:
    """Return the ratio of one cell's best rate to the published loop's: other work only ever slows a round down."""
    rows = [row for row in rounds if (row["size"], row["width"]) == size]
    best: dict[str, float] = {kind: max(row[kind]["rate"] for row in rows) for kind in ("cell", "published")}
    return best["cell"] / best["published"]


def _has(entry: dict[str, Any], size: tuple[int, int]) -> bool:
    return any((row["size"], row["width"]) == size for row in entry["rounds"])


def guard(recorded: dict[str, Any], kind: str, rounds: list[dict[str, Any]]) -> tuple[str, bool]:
    """Return what to say of the lead, and whether it is as good as recorded.

    A kind of machine of which nothing is recorded is held to the lowest of those that are.
    """
    leads = {name: lead(entry["rounds"], GUARDED) for name, entry in recorded.items() if _has(entry, GUARDED)}
    name = kind if kind in leads else min(leads, key=lambda each: leads[each])
    now, least = lead(rounds, GUARDED), leads[name] * (1 - FALL)
    said = (
        f"{now:.2f} times the published loop's rate; recorded ({name}) {leads[name]:.2f}, allowed at least {least:.2f}"
    )
    return said, now >= least


def written_into(page: Path, kind: str, entry: dict[str, Any]) -> None:
    """Put this machine's figures beside a page, and the tables of all machines into it; other sizes' figures stay."""
    file = page.with_suffix(".json")
    entries = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    before = [
        row for row in entries.get(kind, {"rounds": []})["rounds"] if not _has(entry, (row["size"], row["width"]))
    ]
    entry = {**entry, "rounds": sorted([*before, *entry["rounds"]], key=lambda row: (row["size"], row["seed"]))}
    entries = dict(sorted({**entries, kind: entry}.items()))
    file.write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    head, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    tables = "\n".join(
        f"**{name}** ({each['where']})\n\n{table(each['rounds'], name.split(',')[0])[0]}"
        for name, each in entries.items()
    )
    page.write_text(f"{head}{BEGIN}\n\n{tables}\n{END}{rest.partition(END)[2]}", encoding="utf-8")


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    kind, all_sizes = kind_of(device), ON_GPU if device == "cuda" else SIZES
    names = [f"{size}/{width}" for size, width in all_sizes]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", choices=names, default=names)
    parser.add_argument("--iterations", type=int, help="of every size; by default as many as a size needs")
    parser.add_argument("--into", type=Path, help="a Markdown file whose tables are replaced; JSON goes beside it")
    parser.add_argument("--guard", action="store_true", help="compare one cell with the published loop, as recorded")
    given = parser.parse_args()
    if given.guard:
        recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
        iterations = given.iterations or all_sizes[GUARDED]
        rounds = bench({GUARDED: iterations}, GUARD_ROUNDS, device, whole=False)
        said, good = guard(recorded, kind, rounds)
        sys.stdout.write(f"{kind}: {said}\n")
        sys.exit(0 if good else 1)
    sizes = {key: given.iterations or all_sizes[key] for key in all_sizes if f"{key[0]}/{key[1]}" in given.sizes}
    rounds = bench(sizes, given.seeds, device)
    text, missed = table(rounds, device)
    how = provenance(device, bfloat16=False)
    where = f"{how['device']}, {os.cpu_count()} cores, torch {how['versions']['torch']}, {datetime.now():%d %B %Y}"
    sys.stdout.write(f"{kind}: {where}\n\n{text}")
    if given.into:
        written_into(given.into, kind, {"where": where, "computed": how, "rounds": rounds})
    if missed:
        sys.exit(f"targets missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
