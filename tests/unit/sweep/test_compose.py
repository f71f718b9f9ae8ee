from __future__ import annotations

import itertools
import logging
import re
from typing import TYPE_CHECKING

import pytest
from hydra import compose
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_automatic_config_search_path
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dip_stages.config import parse
from dip_stages.sweep.compose import Composer, select
from tests.planning import a_composer, plain

if TYPE_CHECKING:
    from pathlib import Path

    from hydra.core.config_loader import ConfigLoader

    from tests.conftest import Compose

SEEDS = tuple((f"seed={seed}",) for seed in range(5))


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("preset=smoke", "trainer.lr=0.2", "seed=3", "arch=dncnn", "arch.depth=3"),
        ("trainer={lr: 0.5}", "trainer.lr=0.3", "arch={width: 7}", "arch=resnet", "arch.width=${trainer.chunk}"),
        ("~trainer.lr", "+trainer.momentum=0.9", "++seed=2", "~logger", "data.name='a b'", "data.size=null"),
        ("hydra/launcher=basic", "hydra.verbose=true", "sweep=smoke", "sweep.exclude=[{a: b}]"),
    ],
    ids=" ".join,
)
def test_what_tests_compose_is_what_hydra_composes(composing: Compose, overrides: tuple[str, ...]) -> None:
    expected = compose("config", overrides=list(overrides))
    for _ in range(2):  # the second time from what is cached
        config = composing(*overrides)
        assert OmegaConf.to_yaml(config) == OmegaConf.to_yaml(expected)
        assert OmegaConf.is_struct(config)
        assert config._metadata.flags == expected._metadata.flags
        config.outputs = config.arch.name = "of this test alone"


def test_what_hydra_refuses_tests_are_refused_in_its_words(composing: Compose) -> None:
    for refused in ("arch=vnet", "arch.widht=3", "seed=1,2", "seed"):
        with pytest.raises(HydraException) as theirs:
            compose("config", overrides=[refused])
        with pytest.raises(HydraException, match=re.escape(str(theirs.value))):
            composing(refused)


def product(*axes: tuple[str, ...]) -> list[tuple[str, ...]]:
    return list(itertools.product(*axes))


def test_many_points_cost_a_few_compositions(composing: Compose) -> None:
    del composing
    points = product(
        ("arch=unet", "arch=dncnn", "arch=resnet"),
        ("loss=mse", "loss=perceptual"),
        ("scheduler=linear", "scheduler=scaled_linear"),
        ("protocol=clean", "protocol=renoised", "protocol=observed"),
        tuple(f"seed={seed}" for seed in range(20)),
        ("preset=smoke",),
    )
    composer, loader = a_composer(points)
    assert len({str(composer(point)) for point in points}) == len(points) == 720
    assert len(loader.composed) == 1 + 3 + 2 + 2 + 3
    composer.verify(points)
    assert len(loader.composed) == 1 + 3 + 2 + 2 + 3 + 3


@pytest.mark.parametrize(
    "points",
    [
        # A preset overrides the values of the network's option, unless another preset is chosen.
        product(("preset=smoke", "preset=default", "preset=paper"), ("arch=unet", "arch=unet_published")),
        product(("arch=unet", "arch=unet_published"), ("data=file", "data=bundled"), ("preset=smoke",)),
        # Values override presets and options, in any order on the command line.
        product(("arch.width=5",), ("arch=unet", "arch=dncnn", "arch=resnet"), ("preset=smoke", "preset=quick")),
        # Two names for one value.
        product(("noise.beta_max=0.05", "seed=1"), ("beta_max=b0.01", "beta_max=b0.02"), ("arch=unet", "arch=dncnn")),
        # Overrides that are left to Hydra, before and after the values of their section.
        product(("+trainer.momentum=0.9", "~trainer.lr", "seed=1"), ("trainer.iterations=3", "trainer.iterations=4")),
        product(("trainer.lr=0.2", "trainer.lr=0.3"), ("trainer={lr: 0.5}", "++trainer.lr=0.7")),
        product(("arch=unet", "arch=dncnn"), ("arch={width: 7}", "~logger", "logger@arch=none")),
        product(("arch.width=${trainer.chunk}", "arch.width=3"), ("trainer.chunk=5", "trainer.chunk=6")),
        # Values of every kind.
        product(
            ("data.size=null", "data.size=33", "data.size=1e2"), ("data.name='a b'", "data.name=true", "data.name=[1]")
        ),
        product(("trainer.rollback.jump_db=1", "trainer.rollback.jump_db=2.5"), ("trainer.rollback.attempts=0", "x")),
        product(
            ("trainer.rollback=null", "trainer.rollback=3", "trainer.rollback=[1]"), ("trainer.lr=3", "trainer.lr=4")
        ),
        product(("sweep.exclude=[{arch:dncnn}]",), ("seed=1", "seed=2"), ("loss=mse", "loss=perceptual")),
    ],
    ids=lambda points: " ".join(points[0]),
)
def test_points_are_what_hydra_composes(composing: Compose, points: list[tuple[str, ...]]) -> None:
    del composing
    points = [tuple(override for override in point if override != "x") for point in points]
    composer, _ = a_composer(points)
    for point in points:
        try:
            expected = plain(composer.hydra(point))
        except HydraException as error:
            with pytest.raises(HydraException, match=re.escape(str(error))):
                composer(point)
        else:
            assert plain(composer(point)) == expected


def test_what_hydra_refuses_is_refused_in_its_words(composing: Compose) -> None:
    del composing
    points = [*SEEDS, ("arch=vnet",), ("arch.depth=5",), ("seed=1", "arch.depth=5", "arch=dncnn")]
    composer, _ = a_composer(points)
    with pytest.raises(HydraException, match="Could not find 'arch/vnet'"):
        composer(("arch=vnet",))
    with pytest.raises(HydraException, match=r"Could not override 'arch\.depth'"):
        composer(("arch.depth=5",))
    assert select(composer(points[-1]), "arch.depth") == 5


def test_points_share_what_is_the_same_and_nothing_that_differs(composing: Compose) -> None:
    del composing
    composer, _ = a_composer(SEEDS)
    first, second = (composer((*point, f"trainer.rollback.attempts={n}")) for n, point in enumerate(SEEDS[:2]))
    assert first["arch"] is second["arch"]
    assert (first["seed"], second["seed"]) == (0, 1)
    assert [config["trainer"]["rollback"]["attempts"] for config in (first, second)] == [0, 1]
    one, other = parse(first), parse(second)
    assert one.arch is other.arch
    assert one.trainer != other.trainer


def test_a_point_composed_wrongly_is_found_and_all_are_left_to_hydra(
    composing: Compose, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    del composing
    points = product(("arch=unet", "arch=dncnn", "arch=resnet"), ("seed=1", "seed=2"))
    composer, _ = a_composer(points)
    # As if a choice touched only a section that it never touches.
    monkeypatch.setattr(Composer, "_found_touched", lambda _self, _choice: frozenset({"loss"}))
    assert select(composer(points[-1]), "arch.name") == "unet"
    with caplog.at_level(logging.WARNING):
        composer.verify(points)
    assert "gave another config than Hydra" in caplog.text
    assert [select(composer(point), "arch.name") for point in points[1::2]] == ["unet", "dncnn", "resnet"]


def test_a_right_composition_passes_the_same_check_silently(
    composing: Compose, caplog: pytest.LogCaptureFixture
) -> None:
    del composing
    points = product(("arch=unet", "arch=dncnn", "arch=resnet"), ("seed=1", "seed=2"))
    composer, loader = a_composer(points)
    composer.verify(points)
    assert caplog.text == ""
    before = len(loader.composed)
    assert before > 3
    for point in points:
        composer(point)
    assert len(loader.composed) <= before + 3


def test_there_may_be_no_points(composing: Compose) -> None:
    del composing
    composer, loader = a_composer([])
    composer.verify([])
    assert loader.composed == {}


@pytest.fixture
def own_conf(tmp_path: Path) -> tuple[ConfigLoader, DictConfig]:
    """Groups of a user: one that chooses a default of another, and one that adds to the section of another."""
    for name, text in {
        "config": "defaults:\n  - a: one\n  - b: ${a}\n  - c: one\n  - _self_\nseed: 0\n",
        "a/one": "x: 1\n",
        "a/two": "x: 2\n",
        "b/one": "y: 1\n",
        "b/two": "y: 2\n",
        "c/one": "# @package b\nz: 1\n",
        "c/two": "# @package b\nz: 2\n",
        "c/three": "# @package b\ny: 3\nz: 3\n",
    }.items():
        (tmp_path / f"{name}.yaml").parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    loader = ConfigLoaderImpl(create_automatic_config_search_path(None, None, str(tmp_path)))
    return loader, loader.load_configuration("config", [], RunMode.MULTIRUN)


@pytest.mark.parametrize(
    "points",
    [
        product(("a=one", "a=two"), ("b=one", "b=two"), ("c=one", "c=two")),
        product(("a=one", "a=two"), ("c=one", "c=two", "c=three"), ("seed=0", "seed=1")),
        product(("b=one", "b=two"), ("c=one", "c=two", "c=three"), ("seed=0", "seed=1")),
    ],
    ids=lambda points: " ".join(points[0]),
)
def test_groups_that_meddle_with_each_other_are_composed_together(
    own_conf: tuple[ConfigLoader, DictConfig], points: list[tuple[str, ...]]
) -> None:
    composer = Composer(*own_conf, points)
    for point in points:
        assert not isinstance(composer(point), DictConfig)
        assert composer(point) == plain(composer.hydra(point)), point
