from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from dip_stages.cells.identity import check_inputs
from dip_stages.config import TrainingConfig
from dip_stages.denoisers.model_store import MODEL, training_images
from dip_stages.errors import ConfigError, ImageError, ModelError
from dip_stages.images.reading import bundled_path
from tests.hub import ROWS, encoded
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import MakeCell


pytestmark = pytest.mark.usefixtures("cache")


def test_a_model_learns_from_all_rows_but_the_reports(butterflies: Path) -> None:
    training = TrainingConfig(source="hub", dataset=str(butterflies), rows=ROWS - 1)
    found = [path.read_bytes() for path in training_images(training)]
    assert found == [encoded(row) for row in range(1, ROWS)]
    with refused(ConfigError, "method.training.rows", got=ROWS, names=(str(butterflies),)):
        training_images(dataclasses.replace(training, rows=ROWS))
    with refused(ConfigError, "method.training.column", got="images"):
        training_images(dataclasses.replace(training, column="images"))


def test_a_model_may_not_have_learnt_from_the_image_that_it_is_to_denoise(make_cell: MakeCell) -> None:
    with refused(ConfigError, "method.training", problem="coffee.png"):
        check_inputs(make_cell("method=ddpm", "data.name=coffee"))
    check_inputs(make_cell("method=ddpm", "data.name=coffee", "method.training.pictures=[astronaut,chelsea]"))


def test_a_folder_with_too_few_or_broken_images_is_refused(make_cell: MakeCell, tmp_path: Path) -> None:
    training = ("method=ddpm", "method.training.source=folder")
    for name in ("few", "broken"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (40, 40), "red").save(tmp_path / name / "a.png")
    (tmp_path / "few" / "copy.png").write_bytes((tmp_path / "few" / "a.png").read_bytes())
    with refused(ConfigError, "method.training.path", got=str(tmp_path / "few"), problem="fewer than 2 "):
        make_cell(*training, f"method.training.path={tmp_path / 'few'}")
    (tmp_path / "broken" / "b.png").write_bytes((tmp_path / "broken" / "a.png").read_bytes()[:40])
    with refused(ImageError, tmp_path / "broken" / "b.png"):
        check_inputs(make_cell(*training, f"method.training.path={tmp_path / 'broken'}"))


def test_noise_beyond_the_models_last_step_is_refused(make_cell: MakeCell) -> None:
    short = ("method=ddpm", "method.training.timesteps=100", "method.training.beta_end=0.001")
    with refused(
        ConfigError, "method.training", problem="sigma 0.119 on [0, 1], the image's is 0.141", names=("beta_end",)
    ):
        check_inputs(make_cell(*short, "beta_max=b0.02"))
    check_inputs(make_cell(*short, "beta_max=b0.01"))


def test_a_model_of_another_setting_is_refused_before_any_compute(make_cell: MakeCell, tmp_path: Path) -> None:
    with refused(ModelError, tmp_path, problem="no trained model"):
        check_inputs(make_cell("method=ddpm", f"method.model={tmp_path}"))
    (tmp_path / MODEL).write_text('{"settings": {"width": 8}}')
    with refused(ModelError, tmp_path, problem="width: got 8, wanted 24", names=("method.model=null",)):
        check_inputs(make_cell("method=ddpm", f"method.model={tmp_path}"))


def test_images_to_learn_from_are_told_by_what_is_in_them(make_cell: MakeCell, tmp_path: Path) -> None:
    for name in ("astronaut", "chelsea", "coffee"):
        file = bundled_path(name)
        (tmp_path / f"{name}-copy.png").write_bytes(file.read_bytes())
    of_folder = make_cell("method=ddpm", "method.training.source=folder", f"method.training.path={tmp_path}")
    assert of_folder.id == make_cell("method=ddpm").id
    unused = ("method.training.source=folder", "method.training.pictures=[camera,brick]")
    assert make_cell("method=ddpm", *unused, f"method.training.path={tmp_path}").id == of_folder.id
