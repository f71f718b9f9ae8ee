"""Sweeps for tests of reports: on disk, made of records, and as the frame that these are loaded into."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from dip_stages.cells.identity import AXES
from dip_stages.store.records import Record, write_csv, write_json, write_record

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

IMAGES = ("rocket", "coffee", "astronaut")
"""Those of :func:`cells`, unless it is told otherwise."""

KIND = {
    "method": "staged", "protocol": "renoised", "arch": "unet", "beta_max": 0.01, "noise": "gaussian",
    "scheduler": "linear", "loss": "mse", "budget": "saturating", "input": "previous_output", "average": "exponential",
    "stopping": "none", "members": 1,
}  # fmt: skip
BASELINE = {
    "method": "baseline", "protocol": None, "scheduler": None, "budget": None, "input": "fixed_noise",
}  # fmt: skip


def axes(method: str, **changes: Any) -> dict[str, Any]:
    staged = {"protocol": "renoised", "scheduler": "linear", "budget": "saturating", "input": "previous_output"}
    blank = {"protocol": None, "scheduler": None, "budget": None, "input": "fixed_noise"}
    values = {
        "method": method,
        "arch": "unet",
        "beta_max": 0.01,
        "noise": "gaussian",
        "loss": "mse",
        "average": "exponential",
        "stopping": "none",
        "members": 1,
        "image": "rocket",
        "seed": 0,
        "noise_seed": 0,
    }
    return {axis: (values | (blank if method == "baseline" else staged) | changes)[axis] for axis in AXES}


def a_record(folder: str, axes: dict[str, Any], psnr: float | None, **changes: Any) -> Record:
    at = {"iteration": 40, "psnr": psnr, "ssim": 0.5}
    peak = {"iteration": 20, "psnr": (psnr or 0) + 1, "ssim": 0.6, "needs_clean": True}
    pair = {"end": at, "peak": peak}
    result = {"of": "average", **at, "gap_psnr": {"value": 1.0, "needs_clean": True}}
    values: dict[str, Any] = {
        "status": "failed" if psnr is None else "done",
        "cell": {"id": folder, "folder": folder, "axes": axes},
        "config": {},
        "settings": {"method": {"name": axes["method"]}, "trainer": {"lr": 0.01}, "seed": axes["seed"]},
        "sees_clean": axes["protocol"] == "clean",
        "computed": {},
        "timing": {"seconds": 1.5},
        "iterations": {"planned": 40, "run": 40, "rollbacks": 0},
        "observation": {"source": "bundled", "psnr": 20.0, "ssim": 0.3},
        "metrics": None if psnr is None else {"output": pair, "average": pair, "result": result},
        "stopping": {"rule": "none", "decided": False, "sigma": None, "monitors": {}},
        "error": {"message": "diverged"} if psnr is None else None,
    }
    return Record(**(values | changes))


class Sweep:
    """A sweep on disk, made of records."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cells: list[dict[str, Any]] = []

    def add(
        self,
        axes: dict[str, Any],
        psnr: float | None = None,
        *,
        missing: bool = False,
        planned: bool = True,
        **changes: Any,
    ) -> Path:
        name = f"cell{len(list(self.root.iterdir())) + len(self.cells)}"
        if planned:
            self.cells.append({"id": name, "folder": name, "axes": axes})
        folder = self.root / name
        if not missing:
            folder.mkdir()
            write_record(folder, a_record(name, axes, psnr, **changes))
            if psnr is not None:
                rows = [{"iteration": i, "output_psnr": psnr - 10 / i} for i in (10, 20, 40)]
                write_csv(folder / "curves.csv", ["iteration", "output_psnr"], rows)
                for image in ("clean", "observed", "output"):
                    Image.new("RGB", (16, 16), (int(psnr) * 5, 90, 90)).save(folder / f"{image}.png")
        write_json(self.root / "plan.json", {"schema": 1, "name": "x", "cells": self.cells})
        return folder


def cells(
    *kinds: dict[str, Any],
    psnr: Callable[[dict[str, Any]], float],
    images: tuple[str, ...] = IMAGES,
    seeds: int = 2,
) -> pd.DataFrame:
    """Return a frame of every kind of cell on every image with every seed."""
    rows = []
    for kind, image, seed in itertools.product(kinds, images, range(seeds)):
        row = KIND | kind | {"image": image, "seed": seed, "noise_seed": 0}
        value = psnr(row)
        figures = {"output_psnr": value, "output_ssim": value / 40, "output_peak_psnr": value + row.get("gap", 0.0)}
        time = {"seconds_per_iteration": row.get("time", 0.1)}
        rows.append({**{axis: row[axis] for axis in AXES}, **figures, **time, "planned": True, "status": "done"})
    return pd.DataFrame(rows)


def level(row: dict[str, Any], **gains: float) -> float:
    """Return a PSNR that differs between images and seeds, and by the gains of the values that a cell has."""
    base = 25 + 2 * IMAGES.index(row["image"]) + 0.1 * row["seed"]
    return float(base + sum(gains.get(row[axis], 0.0) for axis in ("method", "scheduler", "loss")))
