"""Sweeps for tests of reports: on disk, made of records, and as a frame."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from dip_stages.cells.identity import AXES, QUALIFIERS
from dip_stages.store.hashing import file_sha256
from dip_stages.store.json_files import write_json
from dip_stages.store.plans import PLAN_SCHEMA
from dip_stages.store.records import PLAN, RECORD, SCHEMA, Record, write_csv, write_record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

IMAGES = ("rocket", "coffee", "astronaut")
"""Those of :func:`cells` by default."""

KIND = {
    "method": "staged", "protocol": "renoised", "arch": "unet", "beta_max": 0.01, "noise": "gaussian",
    "scheduler": "linear", "loss": "mse", "budget": "saturating", "input": "previous_output", "average": "exponential",
    "stopping": "none", "members": 1, "kind": "fit", "features": None, "loss_reference": None, "sigma_source": None,
}  # fmt: skip
BASELINE = {
    "method": "baseline", "protocol": None, "scheduler": None, "budget": None, "input": "fixed_noise",
}  # fmt: skip
PERCEPTUAL = {"loss": "perceptual", "features": "random", "loss_reference": "target"}


def axes(method: str, **changes: Any) -> dict[str, Any]:
    """Return the axes of a cell, and the fields that qualify them."""
    values = KIND | {"image": "rocket", "seed": 0, "noise_seed": 0} | (BASELINE if method == "baseline" else {})
    return {axis: (values | {"method": method} | changes)[axis] for axis in (*AXES, *QUALIFIERS)}


def plan_entry(name: str, axes: dict[str, Any]) -> dict[str, Any]:
    """Return a cell as a plan has it."""
    return {"id": name, "folder": name, "axes": axes, "sees_clean": axes["protocol"] == "clean"}


def write_plan(root: Path, cells: Sequence[dict[str, Any]], **changes: Any) -> None:
    write_json(root / PLAN, {"schema": PLAN_SCHEMA, "name": "x", "command": "", "cells": cells, **changes})


def outdate(folder: Path) -> None:
    """Make the record in a cell's folder one of an older version."""
    path = folder / RECORD
    path.write_text(path.read_text().replace(f'"schema": {SCHEMA}', f'"schema": {SCHEMA - 1}'))


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
        identity: str | None = None,
        **changes: Any,
    ) -> Path:
        name = f"cell{len(list(self.root.iterdir())) + len(self.cells)}"
        if planned:
            self.cells.append(plan_entry(name, axes) | {"id": identity or name})
        folder = self.root / name
        if not missing:
            folder.mkdir()
            if psnr is not None:
                rows = [{"iteration": i, "output_psnr": psnr - 10 / i} for i in (10, 20, 40)]
                write_csv(folder / "curves.csv", ["iteration", "output_psnr"], rows)
                for image in ("clean", "observed", "output"):
                    Image.new("RGB", (16, 16), (int(psnr) * 5, 90, 90)).save(folder / f"{image}.png")
            files = {path.name: file_sha256(path) for path in folder.iterdir()}
            cell = {"id": identity or name, "folder": name, "axes": axes}
            write_record(folder, a_record(name, axes, psnr, **{"cell": cell, "files": files} | changes))
        write_plan(self.root, self.cells)
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
        metrics = {"output_psnr": value, "output_ssim": value / 40, "output_peak_psnr": value + row.get("gap", 0.0)}
        time = {"seconds_per_iteration": row.get("time", 0.1)}
        fields = {axis: row[axis] for axis in (*AXES, *QUALIFIERS)}
        rows.append({**fields, **metrics, **time, "planned": True, "status": "done"})
    return pd.DataFrame(rows)


def level(row: dict[str, Any], **gains: float) -> float:
    """Return a PSNR that differs between images and seeds, and by the gains of the values that a cell has."""
    base = 25 + 2 * IMAGES.index(row["image"]) + 0.1 * row["seed"]
    return float(base + sum(gains.get(row[axis], 0.0) for axis in ("method", "scheduler", "loss")))
