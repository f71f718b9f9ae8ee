from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from dip_stages.cells.identity import cell_of
from dip_stages.cells.runner import run_cell
from dip_stages.config import parse
from dip_stages.dip.archs.registry import ARCHS
from dip_stages.store.records import Record

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Compose

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("trainings")]  # which share fits

Fit = Callable[[str], Record]

KINDS = {
    "baseline": ("method=baseline",),
    **{protocol: ("method=staged", f"protocol={protocol}") for protocol in ("clean", "renoised", "observed")},
}


@pytest.fixture(scope="module")
def fitted(composing: Compose, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """All iterations of the quick preset on a tuning image, each kind fitted once, by the test that first asks."""
    root: Path = tmp_path_factory.mktemp("training")

    @functools.cache
    def fit(kind: str) -> Record:
        cell = cell_of(parse(composing("preset=quick", "data.name=coffee", "stopping=none", *KINDS[kind])))
        return run_cell(cell, root / kind, threads=None)

    return fit


def test_a_recorrupted_fit_stops_by_itself_near_its_best(composing: Compose, tmp_path: Path) -> None:
    settings = ("preset=quick", "trainer.iterations=800", "data.name=coffee", "protocol=recorrupted")
    cell = cell_of(parse(composing(*settings)))
    record = run_cell(cell, tmp_path, threads=None)
    assert record.metrics is not None
    assert record.stopping is not None
    assert record.stopping["rule"] == "residual"
    assert record.stopping["decided"]
    assert int(record.iterations["run"] or 0) < 600
    assert record.metrics["result"]["psnr"] > record.observation["psnr"] + 7
    gap = record.metrics["result"]["gap_psnr"]
    assert gap is not None
    assert gap["value"] < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_the_quick_preset_denoises_by_4_db(fitted: Fit, kind: str) -> None:
    record = fitted(kind)
    assert record.metrics is not None
    assert record.metrics["output"]["end"]["psnr"] > record.observation["psnr"] + 4
    assert record.metrics["output"]["end"]["ssim"] > record.observation["ssim"]


def test_stages_made_from_the_clean_image_leak_it(fitted: Fit) -> None:
    ends = {kind: metrics["output"]["end"]["psnr"] for kind in KINDS if (metrics := fitted(kind).metrics)}
    blind = [ends[name] for name in ("baseline", "renoised", "observed")]
    assert ends["clean"] > max(blind)
    assert ends["clean"] > sum(blind) / len(blind) + 1


def test_every_network_denoises_on_its_way_to_the_noise(fitted: Fit, composing: Compose, tmp_path: Path) -> None:
    """The U-Net's fit is the baseline's of the quick preset."""
    records = {"unet": fitted("baseline")}
    settings = ("preset=quick", "data.name=coffee", "trainer.iterations=600", "stopping=none", *KINDS["baseline"])
    for arch in ARCHS.keys() - records.keys():
        records[arch] = run_cell(cell_of(parse(composing(*settings, f"arch={arch}"))), tmp_path / arch, threads=1)
    gains = {
        arch: peak["psnr"] - record.observation["psnr"]
        for arch, record in records.items()
        if record.metrics and (peak := record.metrics["output"]["peak"])
    }
    assert gains.keys() == records.keys()
    assert min(gains.values()) > 1, gains
