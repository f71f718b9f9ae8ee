from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any

import pytest
from hydra import compose
from omegaconf import OmegaConf

from dip_stages.config import (
    CONF_DIR,
    SWEEPS_DIR,
    Config,
    DiscrepancyConfig,
    ResidualConfig,
    StoppingConfig,
    extras,
    parse,
    parsing,
)
from dip_stages.config.data import name_of
from dip_stages.errors import ConfigError
from dip_stages.images import sources
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


@pytest.mark.parametrize("group", [p.parent.name + "=" + p.stem for p in sorted(CONF_DIR.glob("[!h]*/*.yaml"))])
def test_every_option_file_parses(composing: Compose, group: str) -> None:
    needs = {
        "data=file": ["data.path=x.png"],
        "data=folder": ["data.path=x"],
        "stopping=sure": ["method.input=observed"],
        "stopping=residual": ["protocol=recorrupted"],
        "stopping=held_out": ["trainer.held_out=0.1"],
    }
    config = parse(composing(group, *needs.get(group, [])))
    assert config.trainer.iterations > 0


def test_a_rule_that_cannot_be_computed_for_a_fit_is_refused_and_left_out_of_the_monitors(composing: Compose) -> None:
    for rule, others, problem, way in (
        ("sure", (), "method.input=previous_output", "method.input=observed"),
        ("stage_gain", ("method=baseline",), "method=baseline", "method=staged"),
        ("residual", (), "protocol=renoised", "protocol=recorrupted"),
        ("held_out", (), "trainer.held_out=0.0", "trainer.held_out=0.1"),
        ("held_out", ("protocol=recorrupted",), "protocol=recorrupted", "another protocol"),
    ):
        with refused(ConfigError, "stopping", got=rule, names=(way,), problem=problem):
            parse(composing(f"stopping={rule}", *others))
    everything = set(parse(composing("monitors=all")).monitors.rules)
    assert set(parse(composing("monitors=all")).active_monitors) == everything - {"sure", "residual", "held_out"}
    assert set(parse(composing("monitors=all", "trainer.held_out=0.1")).active_monitors) == everything - {
        "sure",
        "residual",
    }
    observed = parse(composing("monitors=all", "method=baseline", "method.input=observed"))
    assert set(observed.active_monitors) == everything - {"stage_gain", "residual", "held_out"}
    recorrupted = ("monitors=all", "protocol=recorrupted")
    assert set(parse(composing(*recorrupted)).active_monitors) == everything - {"stage_gain", "held_out"}
    assert set(parse(composing(*recorrupted, "protocol.last_alpha=1")).active_monitors) == everything - {"held_out"}
    assert observed.monitors.rules["oracle_of_output"].of == "output"
    assert observed.monitors.rules["discrepancy_estimated"].sigma == "estimate"


@pytest.mark.parametrize(
    ("overrides", "got", "problem", "allowed"),
    [
        (("method=baseline", "method.input=observed"), 0.1, "method.input=observed", "0, or another method.input"),
        (("protocol=recorrupted",), 0.1, "protocol=recorrupted", "0, or another protocol"),
        (("method=aseqdip",), 0.1, "method=aseqdip", "0, or another method"),
        (("loss=perceptual",), 0.1, "loss=perceptual", "0, or loss=mse"),
        (("trainer.held_out=0.95",), 0.95, "", "a number >= 0 and <= 0.9"),
    ],
)
def test_pixels_are_not_held_out_where_the_fit_would_see_them(
    composing: Compose, overrides: tuple[str, ...], got: float, problem: str, allowed: str
) -> None:
    with refused(ConfigError, "trainer.held_out", got=got, problem=problem, allowed=allowed):
        parse(composing("trainer.held_out=0.1", *overrides))
    parse(composing("trainer.held_out=0.1", "method=baseline", "loss=perceptual"))  # the baseline's loss is MSE


@pytest.mark.parametrize(
    ("overrides", "rule"),
    [
        ((), DiscrepancyConfig(lag=1.0)),
        (("stopping.lag=0",), DiscrepancyConfig()),
        (("stopping.sigma=estimate", "stopping.tau=1.1"), DiscrepancyConfig(sigma="estimate", tau=1.1, lag=1.0)),
        (("stopping=auto_estimated",), DiscrepancyConfig(sigma="estimate", lag=1.0)),
        (("protocol=recorrupted",), ResidualConfig()),
        (("protocol=recorrupted", "method=baseline"), DiscrepancyConfig(lag=1.0)),
        (("protocol=recorrupted", "stopping=discrepancy"), DiscrepancyConfig()),
    ],
)
def test_auto_stands_for_the_rule_that_fits_the_plan(
    composing: Compose, overrides: tuple[str, ...], rule: StoppingConfig
) -> None:
    config = parse(composing(*overrides, "monitors=all"))
    assert config.stopping == rule
    governing = parse(composing(*(o for o in overrides if not o.startswith("stopping")), "monitors=all"))
    assert governing.monitors.rules["auto"] == governing.stopping


@pytest.mark.parametrize(
    ("overrides", "setting", "got", "problem", "way"),
    [
        (("stopping.sigma=estimate",), "stopping.sigma", "estimate", "", "protocol.sigma=estimate"),
        (("stopping=auto_estimated",), "stopping.sigma", "estimate", "", "protocol.sigma=estimate"),
        (("stopping.tau=-5",), "stopping.tau", -5, "", "> 0"),
        (("stopping=stage_gain",), "stopping", "stage_gain", "protocol=recorrupted", "protocol.last_alpha=…"),
        (("loss=perceptual",), "loss.name", "perceptual", "protocol=recorrupted", "mse"),
        (("protocol.alpha=0",), "protocol.alpha", 0, "", ">= 0.001"),
        (("protocol.last_alpha=1e9",), "protocol.last_alpha", 1e9, "", ""),
        (("protocol.last_alpha=2", "scheduler.stages=1"), "protocol.last_alpha", 2, "scheduler.stages=1", "null"),
        (("protocol.sigma=guess",), "protocol.sigma", "guess", "", "known, estimate"),
    ],
)
def test_what_recorruption_cannot_be_is_refused(
    composing: Compose, overrides: tuple[str, ...], setting: str, got: object, problem: str, way: str
) -> None:
    with refused(ConfigError, setting, got=got, problem=problem, names=(way,)):
        parse(composing("protocol=recorrupted", *overrides))
    if overrides == ("stopping.sigma=estimate",):
        parse(composing("protocol=recorrupted", "protocol.sigma=estimate", *overrides))


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (("noise=gaussian", "protocol=recorrupted", "monitors=all"), []),
        (("noise=poisson", "method=baseline"), []),
        (("noise=clipped", "method=baseline"), ["stopping=discrepancy"]),
        (("noise=poisson",), ["protocol=renoised"]),
        (("noise=speckle", "protocol=recorrupted"), ["protocol=recorrupted"]),
        (
            ("noise=poisson", "protocol=recorrupted", "protocol.sigma=estimate"),
            ["protocol=recorrupted", "sigma=estimate"],
        ),
        (("noise=poisson", "method=baseline", "stopping.sigma=estimate"), ["sigma=estimate"]),
        (("noise=poisson", "method=baseline", "method.input=observed", "stopping=sure"), ["stopping=sure"]),
        (("noise=poisson", "protocol=observed", "stopping=es_wmv"), []),
        (
            ("noise=clipped", "protocol=clean", "stopping=none", "monitors=all"),
            ["stopping=discrepancy", "sigma=estimate"],
        ),
    ],
)
def test_what_a_fit_assumes_of_the_noise_and_does_not_hold_is_reported(
    composing: Compose, overrides: tuple[str, ...], parts: list[str]
) -> None:
    unmet = parse(composing(*overrides)).unmet
    assert [re.sub(r"^noise=\w+: (\S+) assumes .*", r"\1", sentence) for sentence in unmet] == parts


def test_recorruption_rises_in_equal_ratios_and_one_alpha_is_one_stage(composing: Compose) -> None:
    one = parse(composing("protocol=recorrupted", "protocol.alpha=0.4", "trainer.iterations=70"))
    assert (one.alphas, one.stage_numbers(), one.iterations) == ([0.4], ((0.01,), (70,)), 70)
    several = parse(composing("protocol=recorrupted", "protocol.last_alpha=2", "scheduler.stages=3"))
    assert several.alphas == pytest.approx([0.5, 1, 2])
    assert len(several.stage_numbers()[1]) == 3
    assert several.net_input == one.net_input == "observed"


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


def test_every_option_file_opens_with_the_command_that_uses_it() -> None:
    files = [*CONF_DIR.glob("[!h]*/*.yaml"), *SWEEPS_DIR.glob("*.yaml")]
    assert len(files) > 25
    for file in files:
        head = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
        assert "python -m dip_stages" in head[0], file


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
        ("data.source=hub", "data.source", "hub"),
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
    "override", ["noise.beta_max=high", "scheduler.stages=2.5", "arch.width=wide", "trainer.iterations=many"]
)
def test_a_value_of_another_type_is_named(composing: Compose, override: str) -> None:
    setting, _, value = override.partition("=")
    with refused(ConfigError, setting, problem=f"Value '{value}'") as caught:
        parse(composing(override))
    assert len(str(caught.value).splitlines()) == 1


def test_a_setting_that_there_is_not_is_named_with_those_that_there_are(composing: Compose) -> None:
    with refused(ConfigError, "trainer.momentum", names=("iterations",)):
        parse(composing("+trainer.momentum=0.9"))


def test_a_budget_without_any_iteration_is_refused(composing: Compose) -> None:
    with refused(ConfigError, "budget", got="saturating", problem="alpha=1, k=0", names=("smaller alpha",)):
        parse(composing("budget.alpha=1", "budget.k=0"))


def test_the_clean_reference_belongs_to_the_clean_protocol(composing: Compose) -> None:
    leaky = ("loss=perceptual", "loss.reference=clean")
    assert parse(composing("protocol=clean", *leaky)).loss.name == "perceptual"
    with refused(ConfigError, "loss.reference", got="clean", problem="protocol=renoised", names=("target",)):
        parse(composing("protocol=renoised", *leaky))


def test_a_missing_value_is_asked_for(composing: Compose) -> None:
    with refused(ConfigError, "data.path", problem="data.path=…"):
        parse(composing("data=file"))


def test_interpolations_are_resolved(composing: Compose) -> None:
    assert parse(composing("arch.width=${trainer.chunk}")).arch.width == 20


def test_the_baseline_is_not_held_to_what_it_ignores(composing: Compose) -> None:
    config = parse(composing("method=baseline", "scheduler.stages=0", "budget.alpha=1", "budget.k=0"))
    assert config.net_input == "fixed_noise"


def test_every_method_gets_the_same_number_of_iterations(composing: Compose) -> None:
    for budget in ("saturating", "decaying", "constant"):
        betas, budgets = parse(composing(f"budget={budget}", "trainer.iterations=777")).stage_numbers()
        assert sum(budgets) == 777
        assert list(betas) == sorted(betas, reverse=True)
    unscaled = parse(composing("budget=constant", "budget.rescale=false", "budget.max_epochs=30"))
    assert unscaled.stage_numbers()[1] == (30,) * 10


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
        ("arch", {"name": "unet", "width": "wide"}, "arch.width", ..., "Value 'wide'", ""),
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
    with refused(ConfigError, "runtime.threads", problem="1.5"):
        parse(values | {"runtime": {"threads": 1.5, "checkpoint_every": 1}})
    assert parse(values | {"runtime": {"overwrite": True}}).runtime.overwrite is True


def test_a_typed_configuration_cannot_be_changed_by_one_cell_for_another(composing: Compose) -> None:
    first, second = parse(composing("seed=1")), parse(composing("seed=2"))
    assert first.trainer is second.trainer

    def parts(value: Any) -> list[Any]:
        inner = [getattr(value, field.name) for field in dataclasses.fields(value)]
        return [value, *(part for v in inner if dataclasses.is_dataclass(v) for part in parts(v))]

    assert len(parts(first)) == 17
    for part in parts(first):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, dataclasses.fields(part)[0].name, "other")
    assert isinstance(first, Config)
    assert hash(first) != hash(second)


@pytest.mark.parametrize("section", sorted(parsing.SETTINGS.keys() - {"sweep", "monitors"}))
def test_every_option_of_a_group_is_a_name_that_the_schema_allows(composing: Compose, section: str) -> None:
    """The files in ``conf`` and the schemas name the same options; a file may be a variant of another."""
    key = "source" if section == "data" else "name"
    values = [OmegaConf.to_container(OmegaConf.load(file)) for file in (CONF_DIR / section).glob("*.yaml")]
    named = {str(value[key]) for value in values if isinstance(value, dict) and key in value}
    if named:
        with refused(ConfigError, f"{section}.{key}", got="nothing") as caught:
            parse(composing(f"{section}.{key}=nothing"))
        assert set(str(caught.value.allowed).split(", ")) == named


def test_parsing_does_not_depend_on_the_machine(composing: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither on what is installed, nor on files, nor on the network."""
    monkeypatch.setattr(extras, "find_spec", lambda _: None)
    parse(composing("logger=wandb", "method=bm3d"))
    parse(composing("logger=mlflow", "data=folder", "data.path=nowhere"))
    monkeypatch.setattr(sources, "image_of_dataset", lambda *_: pytest.fail("it is fetched"))
    parse(composing("data=butterflies"))
