"""Time of an iteration by operator, in the published loop and in ours: ``python -m tests.bench.profile``.

Operators of torch, on one core, in milliseconds an iteration. Rounds of both alternate, and the shortest counts, since
other work only adds time. The last line of the table also includes Python between the operators, what a cell does
before and after its iterations, and the profiler. Below the table: Lightning's share of a fit.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from torch.profiler import ProfilerActivity, profile

import dip_stages.cli  # noqa: F401 - registers the sweeps and the resolver
from dip_stages.cells.identity import Cell, cell_of
from dip_stages.cells.runner import run_cell
from dip_stages.config import CONF_DIR, parse
from dip_stages.dip.callbacks import Checkpointer, QualityCurve, Steps, Ticker
from dip_stages.dip.module import DIPModule
from tests.bench.published import fit

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = {
    "convolutions, backward": ("convolution_backward", "_slow_conv2d_backward"),
    "convolutions, forward": ("mkldnn_convolution", "_slow_conv2d_forward"),
    "batch normalisation": ("batch_norm",),
    "activations": ("leaky_relu", "sigmoid"),
    "padding by reflection": ("reflection_pad",),
    "upsampling": ("upsample",),
    "draws of the jitter": ("normal_",),
    "optimiser": ("adam", "addcdiv", "addcmul", "lerp", "_foreach"),
}
"""Kinds of operators, by parts of their names; the first that fits counts."""


def of_kind(name: str) -> str:
    """Return the kind of an operator."""
    return next((kind for kind, parts in KINDS.items() if any(part in name.lower() for part in parts)), "the rest")


def profiled(work: Callable[[], object], iterations: int) -> dict[str, float]:
    """Return milliseconds an iteration by kind of operator, and in all."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        begun = time.perf_counter()
        work()
        seconds = time.perf_counter() - begun
    spent: defaultdict[str, float] = defaultdict(float)
    for event in profiler.key_averages():
        spent[of_kind(event.key)] += event.self_cpu_time_total / 1000 / iterations
    spent["in all, by the clock"] = seconds * 1000 / iterations
    return spent


OURS = {
    DIPModule: ("on_fit_start", "configure_optimizers", "training_step"),
    QualityCurve: ("on_fit_start", "on_train_batch_end"),
    Steps: ("on_train_batch_end",),
    Ticker: ("on_train_batch_end",),
    Checkpointer: ("on_fit_start", "on_train_batch_end"),
}
"""Our methods that Lightning calls in a fit; none of them calls another."""


def lightnings_share(work: Callable[[], object]) -> float:
    """Return Lightning's share of the time of the fits in ``work``: without our methods that it calls."""
    seconds: defaultdict[str, float] = defaultdict(float)

    def timed(whose: str, call: Callable[..., object]) -> Callable[..., object]:
        def timing(*given: object, **named: object) -> object:
            begun = time.perf_counter()
            try:
                return call(*given, **named)
            finally:
                seconds[whose] += time.perf_counter() - begun

        return timing

    with ExitStack() as patches:
        for owner, names in OURS.items():
            for name in names:
                patches.enter_context(patch.object(owner, name, timed("ours", getattr(owner, name))))
        patches.enter_context(patch.object(pl.Trainer, "fit", timed("fit", pl.Trainer.fit)))
        work()
    return 1 - seconds["ours"] / seconds["fit"]


def bench_cell(size: int, width: int, iterations: int) -> Cell:
    settings = [
        "method=baseline", "stopping=none", "logger=none", f"arch.width={width}", f"data.size={size}",
        f"trainer.iterations={iterations}",
    ]  # fmt: skip
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return cell_of(parse(compose("config", settings)))


def table(rounds: dict[str, list[dict[str, float]]]) -> list[str]:
    """Return the lines of the table: the shortest time of each kind."""
    lines = [f"| milliseconds an iteration | {' | '.join(rounds)} |", "|:--|--:|--:|"]
    for kind in [*KINDS, "the rest", "in all, by the clock"]:
        least = [min(each[kind] for each in columns) for columns in rounds.values()]
        lines.append(f"| {kind} | {' | '.join(f'{value:.1f}' for value in least)} |")
    return lines


def main() -> None:
    """Profile both loops in turn, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cell = bench_cell(given.size, given.width, given.iterations)

    def ours() -> None:
        with tempfile.TemporaryDirectory() as folder:
            run_cell(cell, Path(folder), threads=1)

    def published() -> None:
        fit(size=given.size, width=given.width, iterations=given.iterations, seed=0, device="cpu")

    rounds: dict[str, list[dict[str, float]]] = {"published": [], "ours": []}
    for _ in range(given.rounds):
        rounds["published"].append(profiled(published, given.iterations))
        rounds["ours"].append(profiled(ours, given.iterations))
    shares = [lightnings_share(ours) for _ in range(given.rounds)]
    share = f"Lightning's share of a fit of {given.iterations} iterations: {min(shares):.1%} to {max(shares):.1%}"
    sys.stdout.write("\n".join([*table(rounds), "", share]) + "\n")


if __name__ == "__main__":
    main()
