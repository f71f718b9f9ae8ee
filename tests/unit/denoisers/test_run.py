"""Competitors are run as cells like all others: on the same observation, and with a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from dip_stages.cells.build import build_observation
from dip_stages.cells.runner import run_cell
from dip_stages.denoisers.classical import nlm
from dip_stages.dip.observation import to_array
from dip_stages.report import describe
from dip_stages.store.records import read_record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeCell

SMALL = ("data.size=24",)


@pytest.mark.parametrize("method", ["nlm", "tv", "bm3d"])
def test_its_record_is_that_of_the_same_observation(make_cell: MakeCell, tmp_path: Path, method: str) -> None:
    fit = make_cell("method=baseline", "trainer.iterations=1", *SMALL)
    cell = make_cell(f"method={method}", *SMALL)
    run_cell(fit, tmp_path / "fit", threads=1)
    run_cell(cell, tmp_path / "competitor", threads=1)
    record = read_record(tmp_path / "competitor")
    assert record.status == "done"
    assert (tmp_path / "fit" / "observed.png").read_bytes() == (tmp_path / "competitor" / "observed.png").read_bytes()
    assert {file.name for file in (tmp_path / "competitor").iterdir()} == {
        "record.json", "clean.png", "observed.png", "output.png", "result.png",
    }  # fmt: skip
    assert record.computed["precision"] == "float32"
    assert record.observation["given"] == {"sigma": {"source": "known", "value": pytest.approx(0.1)}, "model": None}
    assert record.metrics is not None
    assert record.metrics["average"] is None
    assert record.metrics["result"]["psnr"] > record.observation["psnr"] + 3
    assert record.metrics["result"]["gap_psnr"] is None
    assert record.stopping is None
    assert not record.sees_clean
    assert (record.iterations["planned"], record.iterations["run"]) == (0, 0)
    text = describe(record, tmp_path)
    assert f"{method} (competitor)" in text
    assert "sigma 25.5/255 known" in text


def test_its_figures_are_those_of_its_image(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("method=nlm", *SMALL)
    record = run_cell(cell, tmp_path, threads=1)
    observation = build_observation(cell.config)
    wanted = nlm(to_array(observation.observed), 0.1, patch=5, distance=6, strength=0.8)
    error = float(np.square(wanted - to_array(observation.clean), dtype=np.float64).mean())
    assert record.metrics is not None
    assert record.metrics["output"]["end"]["psnr"] == pytest.approx(-10 * np.log10(error), abs=0.05)


def test_an_estimate_is_of_the_observed_image_and_on_record(make_cell: MakeCell, tmp_path: Path) -> None:
    record = run_cell(make_cell("method=tv", "method.sigma=estimate", *SMALL), tmp_path, threads=1)
    sigma = record.observation["given"]["sigma"]
    assert sigma["source"] == "estimate"
    assert sigma["value"] == pytest.approx(0.1, rel=0.3)
    assert sigma["value"] != pytest.approx(0.1, rel=1e-6)
