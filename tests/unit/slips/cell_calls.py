"""Calls that refuse a cell's files, or what a worker finds as it computes one; and the sentence of each."""

from __future__ import annotations

import json
import math
from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from dip_stages.errors import DivergenceError
from dip_stages.store.fingerprint import fingerprint
from dip_stages.store.leases import Lease
from dip_stages.store.records import RECORD, SCHEMA, Record, parse_record
from dip_stages.workers.jobs import Job
from tests.unit.slips.calling import written

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.unit.slips.calling import Call


def a_record(left_out: str = "", **changes: object) -> bytes:
    values = dict.fromkeys(field.name for field in fields(Record)) | {"schema": SCHEMA, "status": "failed"} | changes
    return json.dumps({name: value for name, value in values.items() if name != left_out}).encode()


def leased_twice(folder: Path) -> None:
    with Lease(folder):
        Lease(folder)


def taken_over(folder: Path) -> None:
    with Lease(folder) as lease:
        written(folder / "lease.1", "{}")
        lease.check()


def diverged() -> None:
    raise DivergenceError(20, math.nan, 10)


def without_mps(patch: pytest.MonkeyPatch) -> str:
    import torch

    from dip_stages.cells.hardware import build_accelerator

    patch.setattr(torch.backends.mps, "is_available", lambda: False)
    patch.setattr(torch.backends.mps, "is_built", lambda: False)
    return build_accelerator("mps")


def noise_on_black(name: str) -> object:
    from dip_stages.dip.observation import observe

    return observe(np.zeros((20, 20, 3), np.float32), beta_max=0.01, noise_seed=0, noise=name)


def a_checkpoint(path: Path, content: object) -> object:
    from dip_stages.store import checkpoints

    if isinstance(content, bytes):
        written(path, content)
    else:
        checkpoints.write_state(path, content)  # type: ignore[arg-type]
    return checkpoints._read(path)


# What is typed, or is on disk; the call that refuses it; the sentence.
CALLS: list[tuple[str, Call, str]] = [
    (
        "a record of another version",
        lambda folder, _: parse_record(folder / RECORD, a_record(schema=99)),
        "FOLDER/record.json: of another version of dip_stages (schema 99, not 4)",
    ),
    (
        "a record that lacks a field",
        lambda folder, _: parse_record(folder / RECORD, a_record(left_out="timing", more=3)),
        "FOLDER/record.json: missing ['timing'], unknown ['more']",
    ),
    (
        "a record of no status",
        lambda folder, _: parse_record(folder / RECORD, a_record(status="half")),
        "FOLDER/record.json: got 'half' as status; allowed: done with metrics, or failed without",
    ),
    (
        "an altered record",
        lambda folder, _: parse_record(folder / RECORD, a_record()),
        "FOLDER/record.json: altered since it was written: its checksum is not that of its content",
    ),
    (
        "a cell that is being computed",
        lambda folder, _: leased_twice(folder),
        "FOLDER: being computed by process PID on HOST",
    ),
    (
        "a cell that was taken over",
        lambda folder, _: taken_over(folder),
        "FOLDER: taken over by another process; its result counts",
    ),
    (
        "other code than the plan's",
        lambda *_: Job("a", "a", {}, {}, "before").cell(),
        (
            "the code of dip_stages, or torch, changed between the plan and this worker's start; the same command "
            "plans again, with the present code"
        ),
    ),
    (
        "another input than the plan's",
        lambda *_: Job("a", "a", {}, {}, fingerprint()).cell(),
        (
            "an input, or what is installed, changed since it was planned: "
            "method.name: got None; allowed: baseline, staged, aseqdip, nlm, "
            "tv, bm3d, ddpm"
        ),
    ),
    (
        "method.input_scale=1e39",
        lambda *_: diverged(),
        (
            "the fit diverged at iteration 20 (loss nan) and rolling back did not cure it; kept: the last good state,"
            " iteration 10. A smaller trainer.lr usually helps."
        ),
    ),
    (
        "runtime.accelerator=mps",
        lambda _, patch: without_mps(patch),
        "runtime.accelerator: got 'mps', which this machine lacks (torch is built without it); allowed: auto, cpu",
    ),
    (
        "noise=poisson",
        lambda *_: noise_on_black("poisson"),
        "noise.name: got 'poisson', which leaves a black image as it is; allowed: gaussian, clipped",
    ),
    (
        "a broken checkpoint",
        lambda folder, _: a_checkpoint(folder / "checkpoint.pt", b"x"),
        "FOLDER/checkpoint.pt: truncated, altered or no checkpoint: its checksum is not that of its content",
    ),
    (
        "a checkpoint of another version",
        lambda folder, _: a_checkpoint(folder / "checkpoint.pt", {"schema": 0}),
        "FOLDER/checkpoint.pt: of another schema; allowed: 3",
    ),
    (
        "a checkpoint of something else",
        lambda folder, _: a_checkpoint(folder / "checkpoint.pt", []),
        "FOLDER/checkpoint.pt: got list; allowed: a mapping",
    ),
]
