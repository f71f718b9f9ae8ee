from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from hydra import initialize_config_dir

from dip_stages.config import CONF_DIR
from dip_stages.images.reading import bundled_path
from dip_stages.sweep.drive import Options, run_cached, run_plan
from dip_stages.sweep.plan import Plan, make_plan
from dip_stages.sweep.plan_cache import cached_plan, made_from
from tests.planning import hydra_of_a_sweep
from tests.unit.sweep.driving import Launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.conftest import Compose

pytestmark = pytest.mark.usefixtures("text_alone")

MADE = "all that it was made from"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    shutil.copy(bundled_path("coffee"), path)
    return path


@pytest.fixture
def plan(composing: Compose, tmp_path: Path, image: Path) -> Plan:
    sources = (("data=file", f"data.path={image}"), ("data=bundled", "data.name=rocket"))
    points = [
        ("method=baseline", "trainer.iterations=4", *source, f"seed={seed}") for source in sources for seed in (0, 1)
    ]
    made = make_plan("test", tmp_path, points, lambda overrides: composing("preset=smoke", *overrides), MADE)
    made.write("")
    return made


@pytest.fixture
def conf(hydra_apart: None, tmp_path: Path) -> Iterator[Path]:
    """A config folder of a user, with which Hydra is initialised."""
    del hydra_apart  # active as long as this fixture
    folder = shutil.copytree(CONF_DIR, tmp_path / "conf")
    with initialize_config_dir(str(folder), version_base="1.3"):
        yield folder


def made(*arguments: str) -> str | None:
    loader, master = hydra_of_a_sweep("sweep=smoke", *arguments)
    return made_from(["sweep=smoke", *arguments], master, loader)


def test_a_plan_is_known_again_by_what_it_was_made_from(plan: Plan) -> None:
    cached = cached_plan(plan.root, MADE)
    assert cached is not None
    assert (cached.name, cached.root) == ("test", plan.root)
    assert cached.cells == tuple((p.folder.name, p.cell.id) for p in plan.cells)
    assert cached_plan(plan.root, "something else") is None
    assert cached_plan(plan.root, None) is None


@pytest.mark.usefixtures("conf")
def test_what_a_plan_is_made_from_may_have_names_that_are_not_utf8() -> None:
    names = "outputs='a\udcff'", "outputs='a\udcfe'", "outputs=a"
    assert len({made(name) for name in names} - {None}) == 3


def test_a_plan_is_not_known_without_its_file_or_by_a_broken_one(plan: Plan) -> None:
    file = plan.root / "plan.json"
    file.write_text(file.read_text()[:-10])
    assert cached_plan(plan.root, MADE) is None
    file.unlink()
    assert cached_plan(plan.root, MADE) is None


def test_a_plan_is_not_known_once_a_image_has_changed_or_is_gone(plan: Plan, image: Path) -> None:
    shutil.copy(bundled_path("astronaut"), image)
    assert cached_plan(plan.root, MADE) is None
    image.unlink()
    assert cached_plan(plan.root, MADE) is None


def test_a_plan_of_images_that_a_folder_numbers_is_not_known(composing: Compose, tmp_path: Path, image: Path) -> None:
    points = [("data=folder", f"data.path={image.parent}", "data.index=0")]
    plan = make_plan("test", tmp_path, points, lambda overrides: composing("preset=smoke", *overrides), MADE)
    plan.write("")
    assert cached_plan(plan.root, MADE) is None


def test_what_it_is_made_from_is_the_same_each_time_and_another_for_other_overrides(composing: Compose) -> None:
    del composing
    assert made() is not None
    assert made() == made()
    assert made("seed=1") != made()


def test_what_it_is_made_from_changes_with_any_config_file(conf: Path) -> None:
    before = made()
    (conf / "arch" / "resnet.yaml").write_text((conf / "arch" / "resnet.yaml").read_text() + "# changed\n")
    changed = made()
    assert None not in (before, changed)
    assert changed != before
    (conf / "arch" / "mine.yaml").write_text("name: unet\n")
    assert made() not in (before, changed)


def test_what_it_is_made_from_is_unknown_where_the_environment_has_a_say(
    conf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEED", "1")
    assert made("seed=${oc.env:SEED}") is None
    (conf / "arch" / "resnet.yaml").write_text("name: resnet\nwidth: ${oc.env:WIDTH}\n")
    assert made() is None


def test_a_known_sweep_is_gathered_where_every_cell_has_its_record(
    plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    cached = cached_plan(plan.root, MADE)
    assert cached is not None
    assert run_cached(cached, Options()) is None
    assert run_plan(plan, Launcher(), Options()) == 0
    first = capsys.readouterr().out
    assert run_cached(cached, Options()) == 0
    again = capsys.readouterr()
    assert "nothing to do: all 4 cells of test have a record" in again.err
    assert again.out == first
    assert run_cached(cached, Options(overwrite=True)) is None
    (plan.cells[1].folder / "record.json").unlink()
    assert run_cached(cached, Options()) is None


@pytest.mark.parametrize(
    "alter", [lambda text: text.replace('"unet"', '"dncnn"'), lambda text: text[:-40] + text[-39:]]
)
def test_a_plan_that_was_altered_is_made_again(plan: Plan, alter: Callable[[str], str]) -> None:
    assert cached_plan(plan.root, MADE) is not None
    path = plan.root / "plan.json"
    path.write_text(alter(path.read_text()))
    assert cached_plan(plan.root, MADE) is None
