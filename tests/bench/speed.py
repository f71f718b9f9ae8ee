"""Speed and quality of fits beside the published loop's: ``python -m tests.bench.speed``, or ``make bench``.

A round is, for a size and a seed: the published loop (:mod:`tests.bench.published`); one of our cells, and the same
cell in float32; and a sweep of cells that uses the whole machine. All of them fit the same observation for the same
number of iterations, on the same cores, in processes of their own.

``--into docs/performance.md`` writes the tables of all kinds of machines into that page, and the rounds beside it as
JSON; this machine's are replaced. ``--guard`` compares one cell alone with the published loop, and fails if its lead
is more than a quarter smaller than the recorded one.
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
from typing import Any

import torch

from dip_stages.cells.hardware import wants_bfloat16
from dip_stages.store.provenance import provenance
from dip_stages.store.records import Record, read_record
from tests.bench.speed_table import CELLS, table

SIZES = {(64, 32): 400, (128, 64): 100, (256, 128): 10}
"""Iterations of each image's side and network's width."""
ON_GPU = {(64, 32): 1500, (128, 64): 1500, (256, 128): 600, (512, 128): 200}
GUARDED, GUARD_ROUNDS, FALL = (64, 32), 4, 0.25
"""Size and rounds of the guard, and the largest loss as a part of the recorded ratio."""
RECORDED = Path(__file__).resolve().parents[2] / "docs" / "performance.json"
BEGIN, END = "<!-- tables: written by make bench -->", "<!-- end of tables -->"


def measured(arguments: list[str], folder: Path) -> tuple[str, float]:
    """Run a module and return its output and its peak memory in MiB, without its children's."""
    root = str(Path(__file__).resolve().parents[2])
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=folder, env={**os.environ, "PYTHONPATH": root},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{arguments}: exit code {process.returncode}\n{output[-3000:]}")
    return output, usage.ru_maxrss / 1024


def published(size: int, width: int, iterations: int, seed: int, device: str) -> dict[str, float]:
    """Return rate, PSNR and memory of the published loop."""
    given = {"size": size, "width": width, "iterations": iterations, "seed": seed, "threads": os.cpu_count()}
    arguments = [f"--{name}={value}" for name, value in given.items()]
    with tempfile.TemporaryDirectory() as folder:
        output, memory = measured(["tests.bench.published", *arguments, f"--device={device}"], Path(folder))
    return {**json.loads(output), "memory": memory}


def ours(size: int, width: int, iterations: int, seed: int, *, precision: str = "auto") -> dict[str, float]:
    """Return rate, PSNR and memory of one cell on all cores."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _, memory = measured(["dip_stages", *settings(size, width, iterations, precision), f"seed={seed}"], folder)
        (record,) = records(folder)
    return {"psnr": mean_psnr([record]), "rate": 1 / (record.timing["seconds_per_iteration"] or 0), "memory": memory}


def sweep(size: int, width: int, iterations: int, seed: int, *, together: int) -> dict[str, float]:
    """Return rate and PSNR of several cells in parallel, timed from the first one's start to the last one's end."""
    seeds = f"seed=range({seed * CELLS},{(seed + 1) * CELLS})"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given = [*settings(size, width, iterations, "auto"), seeds, f"hydra.launcher.together={together}"]
        measured(["dip_stages", "-m", "sweep=custom", *given], folder)
        found = records(folder)
        ends = [path.stat().st_mtime for path in sorted(folder.rglob("record.json"))]
    assert len(found) == CELLS
    begun = min(end - (record.timing["seconds"] or 0) for end, record in zip(ends, found, strict=True))
    return {"psnr": mean_psnr(found), "rate": CELLS * iterations / (max(ends) - begun)}


def settings(size: int, width: int, iterations: int, precision: str) -> list[str]:
    return [
        "method=baseline", "stopping=none", "logger=none", "arch=unet", f"arch.width={width}", f"data.size={size}",
        f"trainer.iterations={iterations}", f"trainer.precision={precision}",
    ]  # fmt: skip


def records(folder: Path) -> list[Record]:
    return [read_record(path.parent) for path in sorted(folder.rglob("record.json"))]


def mean_psnr(found: list[Record]) -> float:
    """Return the mean PSNR of the last outputs, in dB."""
    return statistics.mean(float(record.metrics["output"]["end"]["psnr"]) for record in found if record.metrics)


def bench(sizes: dict[tuple[int, int], int], seeds: int, device: str, *, whole: bool = True) -> list[dict[str, Any]]:
    """Return the rounds; without ``whole``, only the published loop and one cell."""
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


def kind_of(device: str) -> str:
    """Return the kind of machine, which decides the speed of fits: the device, and on a CPU its precision."""
    return device if device == "cuda" else f"{device}, {'bfloat16' if wants_bfloat16('auto', device) else 'float32'}"


def lead(rounds: list[dict[str, Any]], size: tuple[int, int]) -> float:
    """Return the ratio of one cell's best rate to the published loop's; the best, as other work slows rounds down."""
    rows = [row for row in rounds if (row["size"], row["width"]) == size]
    best: dict[str, float] = {kind: max(row[kind]["rate"] for row in rows) for kind in ("cell", "published")}
    return best["cell"] / best["published"]


def _has(entry: dict[str, Any], size: tuple[int, int]) -> bool:
    return any((row["size"], row["width"]) == size for row in entry["rounds"])


def guard(recorded: dict[str, Any], kind: str, rounds: list[dict[str, Any]]) -> tuple[str, bool]:
    """Return a message about the lead, and whether it is as good as recorded.

    A kind of machine without a recorded lead is compared with the lowest recorded one.
    """
    leads = {name: lead(entry["rounds"], GUARDED) for name, entry in recorded.items() if _has(entry, GUARDED)}
    name = kind if kind in leads else min(leads, key=lambda each: leads[each])
    now, least = lead(rounds, GUARDED), leads[name] * (1 - FALL)
    message = (
        f"{now:.2f} times the published loop's rate; recorded ({name}) {leads[name]:.2f}, allowed at least {least:.2f}"
    )
    return message, now >= least


def written_into(page: Path, kind: str, entry: dict[str, Any]) -> None:
    """Write this machine's rounds beside a page, and the tables of all machines into it; other sizes' rounds stay."""
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
    """Run the bench or its guard, as asked for on the command line."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    all_sizes = ON_GPU if device == "cuda" else SIZES
    names = [f"{size}/{width}" for size, width in all_sizes]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", choices=names, default=names)
    parser.add_argument("--iterations", type=int, help="of every size; by default a number for each size")
    parser.add_argument("--into", type=Path, help="a Markdown file whose tables are replaced; JSON goes beside it")
    parser.add_argument("--guard", action="store_true", help="compare one cell with the published loop, as recorded")
    given = parser.parse_args()
    sizes = {key: given.iterations or iterations for key, iterations in all_sizes.items()}
    if given.guard:
        run_guard(sizes[GUARDED], device)
    else:
        wanted = {key: sizes[key] for key in sizes if f"{key[0]}/{key[1]}" in given.sizes}
        run_bench(wanted, given.seeds, device, given.into)


def run_guard(iterations: int, device: str) -> None:
    """Compare one cell with the published loop, and exit with 1 if its lead has fallen."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    rounds = bench({GUARDED: iterations}, GUARD_ROUNDS, device, whole=False)
    message, good = guard(recorded, kind_of(device), rounds)
    sys.stdout.write(f"{kind_of(device)}: {message}\n")
    sys.exit(0 if good else 1)


def run_bench(sizes: dict[tuple[int, int], int], seeds: int, device: str, page: Path | None) -> None:
    """Print the table, write it into a page if one is given, and exit with a message if targets were missed."""
    kind = kind_of(device)
    rounds = bench(sizes, seeds, device)
    text, missed = table(rounds, device)
    how = provenance(device, bfloat16=False)
    where = f"{how['device']}, {os.cpu_count()} cores, torch {how['versions']['torch']}, {datetime.now():%d %B %Y}"
    sys.stdout.write(f"{kind}: {where}\n\n{text}")
    if page:
        written_into(page, kind, {"where": where, "computed": how, "rounds": rounds})
    if missed:
        sys.exit(f"targets missed: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
