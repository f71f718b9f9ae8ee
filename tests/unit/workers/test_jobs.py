from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from dip_stages.errors import DriftError, ImageError
from dip_stages.images.reading import bundled_path
from dip_stages.store.fingerprint import fingerprint
from dip_stages.store.records import read_record
from dip_stages.workers.jobs import Job, read_job
from dip_stages.workers.main import compute
from dip_stages.workers.protocol import StopFlag
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.conftest import MakeCell


def test_a_job_holds_the_planned_cell_whatever_conf_says_later(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("arch=dncnn", "seed=3")
    Job.of(cell, tmp_path, stop=tmp_path / "stop").write(tmp_path / "job.json")
    job = read_job(tmp_path / "job.json")
    assert job.cell() == cell
    assert job.axes == cell.axes


def test_other_code_than_the_plans_is_drift_and_the_cell_says_so(make_cell: MakeCell, tmp_path: Path) -> None:
    job = dataclasses.replace(Job.of(make_cell(), tmp_path), code="before")
    with refused(DriftError, problem="the code of dip_stages"):
        job.cell()
    outcome = compute(job, StopFlag())
    assert (outcome.status, outcome.worker_usable) == ("failed", False)
    record = read_record(tmp_path)
    assert record.lost
    assert record.error is not None
    assert "the same command plans again" in record.error["message"]


def test_a_module_of_other_code_that_is_imported_late_is_drift_and_the_cell_is_lost(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = fingerprint()
    monkeypatch.setattr("dip_stages.store.fingerprint._hash_of_sources", lambda _: "edited since")
    assert fingerprint() == planned
    cell = make_cell("method=ddpm", "method.training.iterations=1", "method.training.width=8")
    assert not compute(Job.of(cell, tmp_path / "sweep" / cell.folder), StopFlag()).worker_usable
    record = read_record(tmp_path / "sweep" / cell.folder)
    assert record.lost
    assert record.error is not None
    assert record.error["type"] == "DriftError"


def test_another_image_than_the_plans_is_drift(make_cell: MakeCell, tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(bundled_path("coffee").read_bytes())
    job = Job.of(make_cell("data=file", f"data.path={image}"), tmp_path)
    image.write_bytes(bundled_path("camera").read_bytes())
    with refused(DriftError, problem=f"not {job.id}"):
        job.cell()
    image.unlink()
    with refused(DriftError, problem=f"{image}: ") as caught:
        job.cell()
    assert isinstance(caught.value.__cause__, ImageError)
    assert caught.value.__cause__.setting == str(image)
