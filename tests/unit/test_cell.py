from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from dip_stages.cell import check_inputs
from dip_stages.errors import PictureError, WeightsError
from dip_stages.pictures import bundled_path

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeCell


@pytest.mark.parametrize(
    "override",
    [
        "runtime.threads=2",
        "runtime.accelerator=cpu",
        "outputs=elsewhere",
        "logger=none",
        "runtime.overwrite=true",
        "sweep=smoke",
        "hydra/launcher=basic",
    ],
)
def test_what_cannot_change_the_result_does_not_change_the_id(make_cell: MakeCell, override: str) -> None:
    assert make_cell(override).id == make_cell().id


@pytest.mark.parametrize(
    "override",
    [
        "seed=1",
        "scheduler=scaled_linear",
        "noise_seed=1",
        "beta_max=b0.02",
        "arch=dncnn",
        "arch.width=9",
        "loss=perceptual",
        "protocol=clean",
        "budget=decaying",
        "method=baseline",
        "method.input=fixed_noise",
        "trainer.lr=0.02",
        "trainer.precision=float32",
        "data.name=coffee",
        "data.size=33",
        "scheduler.stages=9",
    ],
)
def test_what_changes_the_result_changes_the_id(make_cell: MakeCell, override: str) -> None:
    assert make_cell(override).id != make_cell().id


@pytest.mark.parametrize(
    "override",
    [
        "scheduler=scaled_linear",
        "budget=decaying",
        "protocol=clean",
        "loss=perceptual",
        "method.carry=average",
        "method.input=previous_output",
        "scheduler.stages=3",
    ],
)
def test_axes_that_the_baseline_ignores_do_not_count(make_cell: MakeCell, override: str) -> None:
    baseline = make_cell("method=baseline", override)
    assert baseline.id == make_cell("method=baseline").id
    assert baseline.axes == make_cell("method=baseline").axes
    assert baseline.axes["scheduler"] is None


def test_a_picture_counts_by_its_contents(make_cell: MakeCell, tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "my (1).png"
    for copy in (first, second):
        shutil.copy(bundled_path("coffee"), copy)
    cells = [make_cell("data=file", f"data.path='{path}'", "data.size=32") for path in (first, second)]
    assert cells[0].id == cells[1].id == make_cell("data.name=coffee").id
    assert cells[1].axes["picture"] == "my (1)"
    assert "my_1_" in cells[1].folder
    second.write_bytes(bundled_path("camera").read_bytes())
    assert make_cell("data=file", f"data.path='{second}'", "data.size=32").id != cells[0].id


def test_the_folder_says_what_the_cell_is(make_cell: MakeCell) -> None:
    cell = make_cell("loss=perceptual", "seed=3")
    assert cell.folder == f"staged-renoised-unet-linear-perceptual_random_-b0.01-rocket-s3-{cell.id}"
    baseline = make_cell("method=baseline")
    assert baseline.folder == f"baseline-unet-b0.01-rocket-s0-{baseline.id}"


def test_tables_are_told_which_weights_were_used(make_cell: MakeCell) -> None:
    assert make_cell("loss=perceptual").axes["loss"] == "perceptual (random)"
    assert make_cell("loss=perceptual_pretrained").axes["loss"] == "perceptual (pretrained)"
    leaky = make_cell("loss=perceptual", "loss.reference=clean", "protocol=clean")
    assert leaky.axes["loss"] == "perceptual (random, to clean)"


def test_inputs_are_looked_at_before_any_compute(make_cell: MakeCell, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(bundled_path("coffee").read_bytes()[:5000])
    with pytest.raises(PictureError, match=r"broken\.png: truncated"):
        check_inputs(make_cell("data=file", f"data.path={broken}"))
    with pytest.raises(WeightsError, match="Two ways out"):
        check_inputs(make_cell("loss=perceptual_pretrained", f"loss.path={broken}"))
    check_inputs(make_cell("method=baseline", "loss=perceptual_pretrained", f"loss.path={broken}"))
