from __future__ import annotations

import dataclasses
import os
import shutil
from dataclasses import field, make_dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch

from dip_stages.cells.identity import AXES, QUALIFIERS, Cell, cell_of, check_inputs, image_shape
from dip_stages.cells.runner import run_cell
from dip_stages.cells.settings import neutral_values
from dip_stages.dip.losses import VGG16Features
from dip_stages.errors import ImageError, WeightsError
from dip_stages.images.reading import bundled_path, sha256
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

    from dip_stages.config import Config
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
        "noise=gaussian",
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
        "noise=poisson",
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


TINY = ("trainer.iterations=9", "trainer.chunk=3", "scheduler.stages=3", "arch.scales=2")
IGNORED = {
    # What makes it ignored, and the settings that then are.
    "carry with fixed noise": (("method.input=fixed_noise",), ("method.carry=average",)),
    "carry with noise and the previous output": (("method.input=noise_and_previous",), ("method.carry=average",)),
    "channels of noise that is not fed": (("method.input=previous_output",), ("method.input_channels=5",)),
    "stages of a baseline": (
        ("method=baseline",),
        ("scheduler=scaled_linear", "budget=decaying", "protocol=clean", "loss=perceptual", "method.carry=average"),
    ),
    "input of a baseline": (("method=baseline",), ("method.input=previous_output",)),
    "seed of weights that are not random": (("loss=perceptual_pretrained",), ("loss.seed=1",)),
    "shape of a constant budget": (
        ("budget=constant", "budget.rescale=false", "budget.max_epochs=3"),
        ("budget.alpha=0.1", "budget.k=3"),
    ),
    "height of a rescaled constant budget": (("budget=constant", "scheduler.stages=2"), ("budget.max_epochs=7",)),
    "iterations where the budget is not rescaled": (
        ("budget=constant", "budget.rescale=false", "budget.max_epochs=3"),
        ("trainer.iterations=5",),
    ),
    "stages that would all be alike": (
        ("protocol=recorrupted",),
        ("scheduler=scaled_linear", "scheduler.stages=2", "budget=decaying", "budget.rescale=false"),
    ),
    "input and jitter of a recorrupted fit": (
        ("protocol=recorrupted",),
        ("method.input=fixed_noise", "method.input_scale=9", "trainer.jitter=0.3"),
    ),
    "recorruption of another protocol": (
        ("protocol=observed",),
        ("protocol.alpha=3", "protocol.last_alpha=2", "protocol.sigma=estimate"),
    ),
    "levels that no target shows": (
        ("protocol=observed", "budget=constant"),
        ("scheduler=scaled_linear", "scheduler.beta_start=0.002"),
    ),
}
COUNTED = {
    "what the previous output is": (("method.input=previous_output",), ("method.carry=average",)),
    "channels of noise": (("method.input=fixed_noise",), ("method.input_channels=5",)),
    "channels of noise beside the previous output": (
        ("method.input=noise_and_previous",),
        ("method.input_channels=5",),
    ),
    "scale of the first input": (("method.input=previous_output",), ("method.input_scale=0.2",)),
    "seed of random weights": (("loss=perceptual",), ("loss.seed=1",)),
    "height of a constant budget": (
        ("budget=constant", "budget.rescale=false", "budget.max_epochs=3"),
        ("budget.max_epochs=2",),
    ),
    "shape of a budget": (("budget=saturating",), ("budget.alpha=0.1",)),
    "number of stages that all are alike": (("protocol=observed", "budget=constant"), ("scheduler.stages=2",)),
    "levels that targets show": (("protocol=renoised", "budget=constant"), ("scheduler.beta_start=0.002",)),
    "levels that budgets follow": (("protocol=observed", "budget=saturating"), ("scheduler.beta_start=0.008",)),
    "how much is recorrupted": (("protocol=recorrupted",), ("protocol.alpha=1",)),
    "how much is recorrupted in the end": (("protocol=recorrupted",), ("protocol.last_alpha=1",)),
    "with what it is recorrupted": (("protocol=recorrupted",), ("protocol.sigma=estimate",)),
    "iterations of a baseline": (("method=baseline", "budget.rescale=false"), ("trainer.iterations=6",)),
    "channels of a baseline": (("method=baseline", "method.input=previous_output"), ("method.input_channels=5",)),
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file in place of the published weights."""
    file = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save(VGG16Features(seed=7).state_dict(), file)
    return file


def curves(cell: Cell, folder: Path) -> str:
    record = run_cell(cell, folder, threads=1)
    assert record.status == "done", record.error
    return f"{record.metrics}\n{(folder / 'curves.csv').read_text()}"


@pytest.mark.parametrize("case", IGNORED)
def test_what_is_left_out_of_an_identity_changes_no_bit_of_the_fit(
    make_cell: MakeCell, tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr("dip_stages.cells.build.published_vgg16", lambda _: weights)
    given, ignored = IGNORED[case]
    one, other = make_cell(*TINY, *given), make_cell(*TINY, *given, *ignored)
    assert one.config != other.config
    assert (one.id, one.axes, one.folder) == (other.id, other.axes, other.folder)
    assert curves(one, tmp_path / "one") == curves(other, tmp_path / "other")


@pytest.mark.parametrize("case", COUNTED)
def test_what_looks_alike_but_changes_the_fit_counts(make_cell: MakeCell, tmp_path: Path, case: str) -> None:
    given, counted = COUNTED[case]
    one, other = make_cell(*TINY, *given), make_cell(*TINY, *given, *counted)
    assert one.id != other.id
    assert curves(one, tmp_path / "one") != curves(other, tmp_path / "other")


def test_an_axis_that_changes_nothing_is_not_shown(make_cell: MakeCell) -> None:
    assert make_cell("protocol=observed", "budget=constant").axes["scheduler"] is None
    assert make_cell("protocol=observed").axes["scheduler"] == "linear"
    assert make_cell("budget=constant").axes["scheduler"] == "linear"


def with_field(config: Config, section: str, value: Any, neutral: Any) -> Config:
    """Return a configuration whose section has one field more, as a later version might."""
    part = getattr(config, section)
    later = make_dataclass(
        "Later",
        [("gain", Any, field(default=neutral, metadata={"neutral": neutral}))],
        bases=(type(part),),
        frozen=True,
    )
    return dataclasses.replace(config, **{section: later(**vars(part), gain=value)})


@pytest.mark.parametrize("section", ["arch", "trainer", "method"])
@pytest.mark.parametrize(("neutral", "other"), [(1.0, 2.0), (None, 0), ("as before", "new")])
def test_a_field_added_later_counts_only_where_it_is_not_neutral(
    make_cell: MakeCell, section: str, neutral: object, other: object
) -> None:
    before = make_cell()
    config = before.config
    assert cell_of(with_field(config, section, neutral, neutral)).id == before.id
    changed = cell_of(with_field(config, section, other, neutral))
    assert changed.id != before.id
    assert changed.settings[section]["gain"] == other


def test_neutral_values_are_those_of_the_fields_of_all_sections() -> None:
    @dataclasses.dataclass
    class Narrow:
        gain: float = field(default=1.0, metadata={"neutral": 1.0})
        shift: float | None = field(default=None, metadata={"neutral": None})

    later = make_dataclass("LaterConfig", [("arch", int | Narrow), ("seed", int)])
    assert neutral_values(later) == {"arch.gain": 1.0}


def test_an_image_replaced_by_one_of_its_size_is_another(make_cell: MakeCell, tmp_path: Path) -> None:
    file = tmp_path / "image.png"
    contents = bundled_path("camera").read_bytes()
    file.write_bytes(contents)
    overrides = ("data=file", f"data.path={file}", "data.size=32")
    first = make_cell(*overrides)
    assert image_shape(first.config.data) == (32, 32, 1)
    file.write_bytes(contents[:-1] + b"x")
    os.utime(file, ns=(1, 1))
    assert make_cell(*overrides).id != first.id


def test_an_image_is_read_once_for_many_cells(
    make_cell: MakeCell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(bundled_path("camera").read_bytes())
    cell = make_cell("data=file", f"data.path={file}", "data.size=32")
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: pytest.fail(f"{path} is read again"))
    assert cell_of(cell.config).id == cell.id
    assert cell_of(dataclasses.replace(cell.config, seed=1)).id != cell.id


def test_an_image_counts_by_its_contents(make_cell: MakeCell, tmp_path: Path) -> None:
    first, second = tmp_path / "a.png", tmp_path / "my (1).png"
    for copy in (first, second):
        shutil.copy(bundled_path("coffee"), copy)
    cells = [make_cell("data=file", f"data.path='{path}'", "data.size=32") for path in (first, second)]
    assert cells[0].id == cells[1].id == make_cell("data.name=coffee").id
    assert cells[1].axes["image"] == "my (1)"
    assert "my_1_" in cells[1].folder
    second.write_bytes(bundled_path("camera").read_bytes())
    assert make_cell("data=file", f"data.path='{second}'", "data.size=32").id != cells[0].id


def test_the_folder_name_describes_the_cell(make_cell: MakeCell) -> None:
    cell = make_cell("loss=perceptual", "seed=3")
    assert cell.folder == f"staged-renoised-unet-linear-perceptual-random-b0.01-rocket-s3-{cell.id}"
    baseline = make_cell("method=baseline")
    assert baseline.folder == f"baseline-unet-b0.01-rocket-s0-{baseline.id}"


@pytest.mark.parametrize(
    ("overrides", "qualifiers"),
    [
        (("loss=mse",), ("fit", None, None, None)),
        (("method=baseline", "loss=perceptual", "stopping=none"), ("fit", None, None, None)),
        (("loss=perceptual",), ("fit", "random", "target", None)),
        (("loss=perceptual_pretrained",), ("fit", "pretrained", "target", None)),
        (("loss=perceptual", "loss.reference=clean", "protocol=clean"), ("fit", "random", "clean", None)),
        (("stopping=discrepancy",), ("fit", None, None, "known")),
        (("stopping=discrepancy_estimated",), ("fit", None, None, "estimate")),
        (("method=nlm", "loss=perceptual"), ("competitor", None, None, "known")),
        (("method=tv", "method.sigma=estimate"), ("competitor", None, None, "estimate")),
        (("method=ddpm_mean",), ("trained competitor", None, None, "known")),
    ],
)
def test_qualifiers_are_plain_fields_beside_the_axes(
    make_cell: MakeCell, overrides: tuple[str, ...], qualifiers: tuple[str | None, ...]
) -> None:
    axes = make_cell("stopping=none", *overrides).axes
    assert list(axes) == [*AXES, *QUALIFIERS]
    assert tuple(axes[name] for name in QUALIFIERS) == qualifiers


def test_inputs_are_checked_before_any_compute(make_cell: MakeCell, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(bundled_path("coffee").read_bytes()[:5000])
    with refused(ImageError, broken, problem="truncated"):
        check_inputs(make_cell("data=file", f"data.path={broken}"))
    with refused(WeightsError, broken, got=sha256(broken), names=("loss.path=", "loss=perceptual")):
        check_inputs(make_cell("loss=perceptual_pretrained", f"loss.path={broken}"))
    check_inputs(make_cell("method=baseline", "loss=perceptual_pretrained", f"loss.path={broken}"))
