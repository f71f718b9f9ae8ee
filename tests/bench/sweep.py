"""Time and memory of planning, status and reports by a sweep's size: ``python -m tests.bench.sweep 96 992 10000``.

The real command line plans the cells. Their records are copies of the record of one computed cell, with the name and id
of each; their files are those of that cell.
"""

from __future__ import annotations

import argparse
import copy
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

import dip_stages.cli  # noqa: F401 - registers the sweeps and the resolver
from dip_stages.config import CONF_DIR
from dip_stages.store.records import read_record, write_record
from dip_stages.sweep.planning import plan_sweep

OVERRIDES = (
    "sweep=custom", "sweep.name=bench", "arch=unet,dncnn", "loss=mse,perceptual",
    "method.input=previous_output,fixed_noise", "noise.beta_max=0.01,0.02",
)  # fmt: skip
PER_SEED = 16
LIMITS = {
    "plan": 30.0, "status": 5.0, "records in one frame": 5.0, "gathering": 5.0, "nothing to do, report gathered": 10.0,
    "nothing to do": 10.0,
}  # fmt: skip
"""Seconds."""
MEMORY = 1024.0
"""MiB."""


def measured(folder: Path, *arguments: str, output: str = "") -> tuple[float, float]:
    """Run a module, whose output must contain a text, and return its seconds and its peak memory in MiB."""
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or output not in printed:
        sys.exit(f"{arguments}: exit code {process.returncode}\n{printed[-3000:]}")
    return time.monotonic() - begun, usage.ru_maxrss / 1024


def overrides(cells: int) -> list[str]:
    return [*OVERRIDES, f"seed=range(0,{cells // PER_SEED})"]


def synthetic(folder: Path, cells: int) -> None:
    """Write the plan, and a record for every cell of it."""
    (template,) = (folder / "outputs" / "single").iterdir()
    record = read_record(template)
    arguments = [*overrides(cells), f"outputs={folder / 'outputs'}"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        hydra = GlobalHydra.instance().hydra
        assert hydra is not None
        config = hydra.compose_config("config", arguments, RunMode.MULTIRUN, with_log_configuration=False)
        plan = plan_sweep(config, hydra.config_loader, arguments)
    plan.write("python -m dip_stages -m")
    for planned in plan.cells:
        made = copy.copy(record)
        made.cell = {"id": planned.cell.id, "folder": planned.folder.name, "axes": planned.cell.axes}
        made.settings, made.config = planned.cell.settings, planned.cell.config.plain()
        planned.folder.mkdir()
        for name in record.files:
            os.link(template / name, planned.folder / name)
        write_record(planned.folder, made)


def bench(cells: int) -> dict[str, tuple[float, float]]:
    """Return seconds and MiB of each command, in a sweep of so many cells."""
    found = {}
    sweep = ["dip_stages", "-m", *overrides(cells)]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        measured(folder, "dip_stages", "preset=smoke", "runtime.threads=1")
        found["plan"] = measured(folder, *sweep, "sweep.plan_only=true", output=f"\n{cells} cells: {cells} to do")
        synthetic(folder, cells)
        found["status"] = measured(
            folder, "dip_stages.status", "outputs/bench", output=f"{cells} done of {cells} cells"
        )
        one_frame = measured(folder, "dip_stages.report", "outputs/bench", "--cells", output=f"{cells} cells written")
        found["records in one frame"] = one_frame
        found["gathering"] = measured(folder, "dip_stages.report", "outputs/bench", output=f"{cells} done of {cells}")
        nothing = f"nothing to do: all {cells} cells"
        found["nothing to do, report gathered"] = measured(folder, *sweep, output=nothing)
        found["nothing to do"] = measured(folder, *sweep, output=nothing)
    return found


def table(sizes: list[int], found: dict[int, dict[str, tuple[float, float]]]) -> str:
    """Return the results of all sizes as Markdown, with the limits."""
    heads = "".join(f" {size:,} cells |" for size in sizes)
    growth = f" growth, for {sizes[-1] / sizes[0]:g} times the cells |" if len(sizes) > 1 else ""
    lines = [f"| command |{heads}{growth} allowed |", "|:--|" + "--:|" * (len(sizes) + 1 + bool(growth))]
    for name, limit in LIMITS.items():
        values = [found[size][name] for size in sizes]
        cells = "".join(f" {seconds:.1f} s, {memory:.0f} MiB |" for seconds, memory in values)
        times = f" {values[-1][0] / values[0][0]:.1f} times |" if growth else ""
        lines.append(f"| {name} |{cells}{times} {limit:g} s |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, write it into a document if one is given, and exit with a message if a limit is exceeded."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", type=int, nargs="*", help=f"multiples of {PER_SEED}; by default 96 992 10000")
    parser.add_argument("--table", type=Path, help="a Markdown file, in which the table is replaced")
    arguments = parser.parse_args()
    sizes = arguments.cells or [96, 992, 10000]
    found = {size: bench(size) for size in sizes}
    text = table(sizes, found)
    sys.stdout.write(text)
    if arguments.table:
        head = arguments.table.read_text(encoding="utf-8").partition("| command |")[0]
        arguments.table.write_text(head + text, encoding="utf-8")
    over = [
        f"{name}: {seconds:.1f} s, {memory:.0f} MiB"
        for name, (seconds, memory) in found[sizes[-1]].items()
        if sizes[-1] <= 10000 and (seconds > LIMITS[name] or memory > MEMORY)
    ]
    if over:
        sys.exit(f"over the limit: {over}")


if __name__ == "__main__":
    main()
