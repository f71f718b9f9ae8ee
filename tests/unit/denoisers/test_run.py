"""References are cells like all others: same observation, a record, an identity of what matters to them."""

from __future__ import annotations

import importlib.util
import itertools
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from dip_stages.cells.build import build_observation
from dip_stages.cells.flops import flops
from dip_stages.cells.identity import AXES, check_inputs
from dip_stages.cells.runner import run_cell
from dip_stages.denoisers.classical import nlm
from dip_stages.denoisers.model_store import MODEL
from dip_stages.dip.observation import to_array
from dip_stages.errors import ConfigError, ModelError, PictureError
from dip_stages.images.reading import bundled_path
from dip_stages.report import compare, describe, effects, load, report_sweep
from dip_stages.report.tables import comparison
from dip_stages.store.records import read_record
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeCell

SMALL = ("data.size=24",)


@pytest.mark.parametrize(
    "override",
    [
        "arch=dncnn",
        "seed=7",
        "trainer.iterations=9",
        "loss=perceptual",
        "protocol=clean",
        "scheduler=scaled_linear",
        "stopping=oracle",
        "average=none",
        "readers=all",
        "ensemble.members=3",
        "runtime.threads=2",
    ],
)
def test_what_belongs_to_fits_does_not_tell_a_reference_from_another(make_cell: MakeCell, override: str) -> None:
    assert make_cell("method=nlm", override).id == make_cell("method=nlm").id


@pytest.mark.parametrize(
    "override",
    ["noise_seed=1", "beta_max=b0.02", "noise=speckle", "data.name=camera", "method.sigma=estimate", "method.patch=3"],
)
def test_observation_and_own_settings_tell_it_from_another(make_cell: MakeCell, override: str) -> None:
    assert make_cell("method=nlm", override).id != make_cell("method=nlm").id


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("seed=1", True),
        ("method.samples=1", True),
        ("method.reverse=mean", True),
        ("method.training.iterations=9", True),
        ("method.training.pictures=[astronaut,coffee]", True),
        ("method.model=somewhere", False),
        ("method.training.path=unused", False),
        ("method.training.rows=7", False),
        ("arch=dncnn", False),
    ],
)
def test_a_trained_one_is_told_by_its_seed_and_what_it_learnt_from(
    make_cell: MakeCell, override: str, *, differs: bool
) -> None:
    assert (make_cell("method=ddpm", override).id != make_cell("method=ddpm").id) == differs


def test_it_has_no_axes_but_those_of_the_observation(make_cell: MakeCell) -> None:
    cell = make_cell("method=tv", "method.sigma=estimate")
    assert cell.axes["method"] == "tv (reference, sigma estimated)"
    assert {axis for axis in AXES if cell.axes[axis] is not None} == {
        "method", "beta_max", "noise", "picture", "noise_seed",
    }  # fmt: skip
    assert make_cell("method=ddpm").axes["method"] == "ddpm (trained reference)"
    assert make_cell("method=ddpm", "seed=3").axes["seed"] == 3
    mean = make_cell("method=ddpm_mean", "seed=3")
    assert (mean.axes["method"], mean.axes["seed"]) == ("ddpm mean (trained reference)", None)
    assert mean.id == make_cell("method=ddpm_mean", "method.samples=1").id  # it draws nothing
    assert (cell.config.iterations, flops(cell.config)) == (0, 0)
    assert not make_cell("method=tv", "stopping=oracle", "protocol=clean").config.sees_clean


@pytest.mark.parametrize("method", ["nlm", "tv", "bm3d"])
def test_its_record_is_that_of_the_same_observation(make_cell: MakeCell, tmp_path: Path, method: str) -> None:
    fit = make_cell("method=baseline", "trainer.iterations=1", *SMALL)
    cell = make_cell(f"method={method}", *SMALL)
    run_cell(fit, tmp_path / "fit", threads=1)
    run_cell(cell, tmp_path / "reference", threads=1)
    record = read_record(tmp_path / "reference")
    assert record.status == "done"
    assert (tmp_path / "fit" / "observed.png").read_bytes() == (tmp_path / "reference" / "observed.png").read_bytes()
    assert {file.name for file in (tmp_path / "reference").iterdir()} == {
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
    said = describe(record, tmp_path)
    assert f"{method} (reference)" in said
    assert "sigma 25.5/255 known" in said


def test_its_figures_are_those_of_its_picture(make_cell: MakeCell, tmp_path: Path) -> None:
    cell = make_cell("method=nlm", *SMALL)
    record = run_cell(cell, tmp_path, threads=1)
    observation = build_observation(cell.config)
    wanted = nlm(to_array(observation.observed), 0.1, patch=5, distance=6, strength=0.8)
    error = float(np.square(wanted - to_array(observation.clean), dtype=np.float64).mean())
    assert record.metrics is not None
    assert record.metrics["output"]["end"]["psnr"] == pytest.approx(-10 * np.log10(error), abs=0.05)


def test_an_estimate_is_of_the_observed_picture_and_on_record(make_cell: MakeCell, tmp_path: Path) -> None:
    record = run_cell(make_cell("method=tv", "method.sigma=estimate", *SMALL), tmp_path, threads=1)
    sigma = record.observation["given"]["sigma"]
    assert sigma["source"] == "estimate"
    assert sigma["value"] == pytest.approx(0.1, rel=0.3)
    assert sigma["value"] != pytest.approx(0.1, rel=1e-6)


def test_another_noise_than_it_assumes_is_said(make_cell: MakeCell) -> None:
    said = make_cell("method=bm3d", "noise=poisson").config.unmet
    assert said == ("noise=poisson: method=bm3d assumes Gaussian noise of one variance",)


def test_tables_show_it_as_a_row_of_its_own(make_cell: MakeCell, tmp_path: Path) -> None:
    for cell in (make_cell("method=baseline", "trainer.iterations=2", *SMALL), make_cell("method=tv", *SMALL)):
        run_cell(cell, tmp_path / cell.folder, threads=1)
    frame = load(tmp_path)
    table = comparison(frame, "none")
    assert table.method.tolist() == ["baseline", "tv (reference)"]
    row = table.iloc[1]
    assert row["PSNR ours"] == pytest.approx(frame[frame.method == "tv (reference)"].output_psnr.item())
    assert np.isnan(row["PSNR of average"])
    assert np.isnan(row["peak PSNR *"])


def test_a_sweep_of_references_alone_is_reported_and_compared(make_cell: MakeCell, tmp_path: Path) -> None:
    for beta_max, name in itertools.product((0.01, 0.02), ("coffee", "camera")):
        cell = make_cell("method=nlm", f"noise.beta_max={beta_max}", f"data.name={name}", *SMALL)
        run_cell(cell, tmp_path / cell.folder, threads=1)
    text = report_sweep(tmp_path)
    assert "4 done of 4 cells" in text
    assert "(reference): no Deep Image Prior" in text
    steps = effects(load(tmp_path))
    assert steps[["axis", "from", "to", "pairs"]].to_numpy().tolist() == [["beta_max", "0.01", "0.02", 2]]
    assert steps["PSNR vs from"].item() < 0
    assert (tmp_path / "report" / "pictures.png").exists()
    assert "nlm (reference)" in (tmp_path / "report" / "index.html").read_text()
    assert "4 cells" in compare(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("overrides", "setting", "got", "way"),
    [
        (("method=nlm", "method.sigma=guess"), "method.sigma", "guess", "known, estimate"),
        (("method=nlm", "method.patch=0"), "method.patch", 0, "a number >= 1"),
        (("method=ddpm", "method.training.crop=30"), "method.training.crop", 30, "a multiple of 4"),
        (("method=ddpm", "method.training.width=12"), "method.training.width", 12, "a multiple of 8"),
        (("method=ddpm", "method.training.sizes=[16]"), "method.training.sizes", [16], "32"),
        (("method=ddpm", "method.training.pictures=[coffee]"), "method.training.pictures", ["coffee"], "2"),
        (("method=ddpm", "method.training.pictures=[coffee,coffee]"), "method.training.pictures", ["coffee"] * 2, "2"),
        (("method=ddpm", "method.training.source=folder"), "method.training.path", ..., ""),
    ],
)
def test_bad_settings_are_named(
    make_cell: MakeCell, overrides: tuple[str, ...], setting: str, got: object, way: str
) -> None:
    with refused(ConfigError, setting, got=got, names=(way,)):
        make_cell(*overrides)


@pytest.mark.parametrize(("method", "package"), [("bm3d", "bm3d"), ("ddpm", "diffusers")])
def test_a_missing_extra_is_named_with_the_command_that_installs_it(
    make_cell: MakeCell, monkeypatch: pytest.MonkeyPatch, method: str, package: str
) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else there(name))
    with refused(ConfigError, "method", got=method, problem=package, names=(f"pip install 'dip_stages[{method}]'",)):
        make_cell(f"method={method}")
    make_cell("method=nlm")


def test_a_model_may_not_have_learnt_from_the_picture_that_it_is_to_denoise(make_cell: MakeCell) -> None:
    with refused(ConfigError, "method.training", problem="coffee.png"):
        check_inputs(make_cell("method=ddpm", "data.name=coffee"))
    check_inputs(make_cell("method=ddpm", "data.name=coffee", "method.training.pictures=[astronaut,chelsea]"))


def test_a_folder_with_too_few_or_broken_pictures_is_refused(make_cell: MakeCell, tmp_path: Path) -> None:
    training = ("method=ddpm", "method.training.source=folder")
    for name in ("few", "broken"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40), "red").save(tmp_path / name / "a.png")
    (tmp_path / "few" / "copy.png").write_bytes((tmp_path / "few" / "a.png").read_bytes())
    with refused(ConfigError, "method.training.path", got=str(tmp_path / "few"), problem="fewer than 2 "):
        make_cell(*training, f"method.training.path={tmp_path / 'few'}")
    (tmp_path / "broken" / "b.png").write_bytes(b"no picture")
    with refused(PictureError, tmp_path / "broken" / "b.png"):
        check_inputs(make_cell(*training, f"method.training.path={tmp_path / 'broken'}"))


def test_noise_beyond_the_models_last_step_is_refused(make_cell: MakeCell) -> None:
    short = ("method=ddpm", "method.training.timesteps=100", "method.training.beta_end=0.001")
    with refused(
        ConfigError, "method.training", problem="sigma 0.119 on [0, 1], the picture's is 0.141", names=("beta_end",)
    ):
        check_inputs(make_cell(*short, "beta_max=b0.02"))
    check_inputs(make_cell(*short, "beta_max=b0.01"))


def test_a_model_of_another_setting_is_refused_before_any_compute(make_cell: MakeCell, tmp_path: Path) -> None:
    with refused(ModelError, tmp_path, problem="no trained model"):
        check_inputs(make_cell("method=ddpm", f"method.model={tmp_path}"))
    (tmp_path / MODEL).write_text('{"settings": {"width": 8}}')
    with refused(ModelError, tmp_path, problem="width: got 8, wanted 24", names=("method.model=null",)):
        check_inputs(make_cell("method=ddpm", f"method.model={tmp_path}"))


def test_pictures_to_learn_from_are_told_by_what_is_in_them(make_cell: MakeCell, tmp_path: Path) -> None:
    for name in ("astronaut", "chelsea", "coffee"):
        file = bundled_path(name)
        (tmp_path / f"{name}-copy.png").write_bytes(file.read_bytes())
    of_folder = make_cell("method=ddpm", "method.training.source=folder", f"method.training.path={tmp_path}")
    assert of_folder.id == make_cell("method=ddpm").id
