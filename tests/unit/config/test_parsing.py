from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest
from hydra import compose
from omegaconf import OmegaConf

from dip_stages.config import data, extras, parse
from dip_stages.config.data import HubData, name_of
from dip_stages.errors import ConfigError
from dip_stages.images.sources import COURSE_IMAGE, is_course_image
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import Compose


def test_the_defaults_are_the_documented_ones(composing: Compose) -> None:
    config = parse(composing())
    assert (config.method.name, config.arch.name, config.protocol.name) == ("staged", "unet", "renoised")
    assert (name_of(config.data), config.noise.beta_max, config.trainer.iterations) == ("rocket", 0.01, 1500)


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("preset=smoke", "arch=dncnn", "seed=3", "trainer.rollback.attempts=0"),
        ("seed=3", "arch={width: 7}", "arch=resnet", "preset=quick", "arch.width=5"),
        ("+trainer.momentum=0.9", "~trainer.lr", "data.name='a b'"),
        ("arch.width=${trainer.chunk}", "trainer.chunk=5", "++trainer.lr=0.7", "~logger"),
    ],
    ids=" ".join,
)
def test_what_tests_compose_is_what_hydra_composes(composing: Compose, overrides: tuple[str, ...]) -> None:
    assert composing(*overrides) == composing(*overrides) == compose("config", overrides=list(overrides))


@pytest.mark.parametrize(
    ("rule", "name", "got", "names"),
    [
        ("{name: es_wmv, window: 1}", "mine.window", 1, (">= 2",)),
        ("{name: none}", "mine", "none", ()),
        ("{name: nothing}", "mine.name", "nothing", ("es_wmv",)),
        ("{window: 3}", "mine.name", None, ()),
        ("{name: es_wmv, windows: 3}", "mine.windows", ..., ("name, window, patience",)),
        ("3", "mine.name", None, ()),
    ],
)
def test_a_bad_monitor_is_named(composing: Compose, rule: str, name: str, got: object, names: tuple[str, ...]) -> None:
    with refused(ConfigError, f"monitors.rules.{name}", got=got, names=names):
        parse(composing(f"+monitors.rules.mine={rule}"))


@pytest.mark.parametrize(
    ("override", "setting", "got"),
    [
        ("noise.beta_max=0", "noise.beta_max", 0),
        ("noise.beta_max=1", "noise.beta_max", 1),
        ("noise.beta_max=-0.1", "noise.beta_max", -0.1),
        ("noise.beta_max=nan", "noise.beta_max", float("nan")),
        ("noise.beta_max=0.00005", "scheduler.beta_start", 0.0001),
        ("scheduler.stages=0", "scheduler.stages", 0),
        ("scheduler.name=cosine", "scheduler.name", "cosine"),
        ("budget.alpha=1.1", "budget.alpha", 1.1),
        ("budget.max_epochs=0", "budget.max_epochs", 0),
        ("budget.k=-1", "budget.k", -1),
        ("budget.name=linear", "budget.name", "linear"),
        ("protocol.name=leaky", "protocol.name", "leaky"),
        ("method.name=dip", "method.name", "dip"),
        ("method.input=image", "method.input", "image"),
        ("method.carry=both", "method.carry", "both"),
        ("method.input_channels=0", "method.input_channels", 0),
        ("arch.width=0", "arch.width", 0),
        ("arch.name=vgg", "arch.name", "vgg"),
        ("arch.upsampling=bicubic", "arch.upsampling", "bicubic"),
        ("~arch", "arch.name", None),
        ("loss.name=l1", "loss.name", "l1"),
        ("trainer.iterations=0", "trainer.iterations", 0),
        ("trainer.lr=0", "trainer.lr", 0),
        ("average.decay=1", "average.decay", 1),
        ("trainer.chunk=0", "trainer.chunk", 0),
        ("trainer.precision=float16", "trainer.precision", "float16"),
        ("trainer.rollback.jump_db=0", "trainer.rollback.jump_db", 0),
        ("data.name=lena", "data.name", "lena"),
        ("data.size=8", "data.size", 8),
        ("data.fit=stretch", "data.fit", "stretch"),
        ("data.source=web", "data.source", "web"),
        ("runtime.accelerator=tpu", "runtime.accelerator", "tpu"),
        ("runtime.threads=0", "runtime.threads", 0),
        ("seed=-1", "seed", -1),
        ("seed=1.5", "seed", 1.5),
        ("noise_seed=true", "noise_seed", True),
    ],
)
def test_a_bad_setting_is_named_with_what_came(composing: Compose, override: str, setting: str, got: object) -> None:
    with refused(ConfigError, setting, got=got) as caught:
        parse(composing(override))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "got", "allowed"),
    [
        ("noise.beta_max=high", "high", "a number"),
        ("scheduler.stages=2.5", 2.5, "a whole number"),
        ("arch.width=wide", "wide", "a whole number"),
        ("trainer.iterations=many", "many", "a whole number"),
        ("runtime.threads=[1]", [1], "a whole number or null"),
        ("runtime.overwrite=perhaps", "perhaps", "true or false"),
    ],
)
def test_a_value_of_another_type_is_named(composing: Compose, override: str, got: object, allowed: str) -> None:
    with refused(ConfigError, override.partition("=")[0], got=got, allowed=allowed) as caught:
        parse(composing(override))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("trainer.iterations=1e3", "trainer.iterations"),
        ("seed=1e3", "seed"),
        ("trainer.rollback.attempts=1e3", "trainer.rollback.attempts"),
        ("runtime.threads=1e3", "runtime.threads"),
    ],
)
def test_a_whole_number_may_have_an_exponent(composing: Compose, override: str, path: str) -> None:
    value = functools.reduce(getattr, path.split("."), parse(composing(override)))
    assert repr(value) == "1000"


def test_a_setting_that_there_is_not_is_named_with_those_that_there_are(composing: Compose) -> None:
    with refused(ConfigError, "trainer.momentum", names=("iterations",)):
        parse(composing("+trainer.momentum=0.9"))


def test_a_missing_value_is_asked_for(composing: Compose) -> None:
    with refused(ConfigError, "data.path", problem="data.path=…"):
        parse(composing("data=file"))


def test_interpolations_are_resolved(composing: Compose) -> None:
    assert vars(parse(composing("arch.width=${trainer.chunk}")).arch)["width"] == 20


def as_plain(composing: Compose, *overrides: str) -> dict[str, Any]:
    values = OmegaConf.to_container(composing(*overrides))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


@pytest.mark.parametrize(
    "overrides",
    [(), ("arch=dncnn", "loss=perceptual"), ("data=file", "data.path=x"), ("arch.width=${trainer.chunk}",)],
    ids=" ".join,
)
def test_plain_values_parse_as_what_hydra_composed(composing: Compose, overrides: tuple[str, ...]) -> None:
    assert parse(as_plain(composing, *overrides)) == parse(composing(*overrides))


@pytest.mark.parametrize(
    ("key", "value", "setting", "got", "problem", "way"),
    [
        ("arch", {"name": "unet", "width": "wide"}, "arch.width", "wide", "", "a whole number"),
        ("arch", {"name": "unet", "widht": 3}, "arch.widht", ..., "", "name, width"),
        ("arch", None, "arch.name", None, "", "unet"),
        ("arch", {"name": ["unet"]}, "arch.name", ["unet"], "", "unet"),
        ("trainer", 3, "trainer", 3, "", "rollback"),
        ("noise", {"beta_max": "${nowhere}"}, "noise.beta_max", ..., "Interpolation key 'nowhere' not found", ""),
        ("seed", "${nowhere}", "seed", ..., "Interpolation key 'nowhere' not found", ""),
        ("seed", "1", "seed", "1", "", ">= 0"),
        ("data", {"source": "file", "path": "???"}, "data.path", ..., "data.path=…", ""),
    ],
    ids=str,
)
def test_bad_plain_values_are_named_too(
    composing: Compose, key: str, value: object, setting: str, got: object, problem: str, way: str
) -> None:
    with refused(ConfigError, setting, got=got, problem=problem, names=(way,)):
        parse(as_plain(composing) | {key: value})


def test_types_are_told_apart_where_python_takes_them_for_equal(composing: Compose) -> None:
    values = as_plain(composing)
    assert parse(values | {"runtime": {"threads": 1, "checkpoint_every": 1}}).runtime.threads == 1
    with refused(ConfigError, "runtime.threads", got=1.5):
        parse(values | {"runtime": {"threads": 1.5, "checkpoint_every": 1}})
    assert parse(values | {"runtime": {"overwrite": True}}).runtime.overwrite is True


def test_parsing_does_not_depend_on_the_machine(composing: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on what is installed, nor on files, nor on the network."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    parse(composing("logger=wandb", "method=bm3d"))
    parse(composing("logger=mlflow", "data=folder", "data.path=nowhere"))
    monkeypatch.setattr(data, "image_of_dataset", lambda *_, **__: pytest.fail("it is fetched"))
    parse(composing("data=butterflies"))


def test_the_course_image_is_a_row_of_a_data_set_of_the_hub(composing: Compose) -> None:
    config = parse(composing("data=butterflies")).data
    assert config == HubData(dataset=COURSE_IMAGE["dataset"])
    assert is_course_image(config)
    assert name_of(config) == "smithsonian_butterflies_subset-0"
    other = parse(
        composing("data=hub", "data.dataset=a/b", "data.config=c", "data.split='train[1:3]'", "data.column=d/e")
    )
    assert name_of(other.data) == "b-c-train[1:3]-d-e-0"
    with refused(ConfigError, "data.dataset", problem="data.dataset=…"):
        parse(composing("data=hub"))
