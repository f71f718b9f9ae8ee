from __future__ import annotations

import dataclasses
import re
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

import pytest
from omegaconf import OmegaConf

from dip_stages.config import (
    CONF_DIR,
    SWEEPS_DIR,
    Config,
    DiscrepancyConfig,
    ResidualConfig,
    StoppingConfig,
    check_keys,
    parse,
    parse_sweep,
)
from dip_stages.errors import ConfigError

if TYPE_CHECKING:
    from tests.conftest import Compose


def test_the_defaults_are_the_documented_ones(composing: Compose) -> None:
    config = parse(composing())
    assert (config.method.name, config.arch.name, config.protocol.name) == ("staged", "unet", "renoised")
    assert (config.data.name, config.noise.beta_max, config.trainer.iterations) == ("rocket", 0.01, 1500)


EXTRAS = ("tensorboard", "wandb", "mlflow")


@pytest.mark.parametrize("group", [p.parent.name + "=" + p.stem for p in sorted(CONF_DIR.glob("[!h]*/*.yaml"))])
def test_every_option_file_parses(composing: Compose, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: ModuleSpec("there", None))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://localhost:5000")
    needs = {
        "data=file": ["data.path=x.png"],
        "data=folder": ["data.path=x"],
        "stopping=sure": ["method.input=observed"],
        "stopping=residual": ["protocol=recorrupted"],
        "stopping=held_out": ["trainer.held_out=0.1"],
    }
    config = parse(composing(group, *needs.get(group, [])))
    assert config.trainer.iterations > 0


def test_a_rule_that_can_say_nothing_of_a_fit_is_refused_and_left_out_of_the_readers(composing: Compose) -> None:
    with pytest.raises(ConfigError, match=r"stopping=sure: got method.input=previous_output; allowed: .*=observed"):
        parse(composing("stopping=sure"))
    with pytest.raises(ConfigError, match=r"stopping=stage_gain: got method=baseline; allowed: method=staged"):
        parse(composing("stopping=stage_gain", "method=baseline"))
    with pytest.raises(ConfigError, match=r"stopping=residual: got protocol=renoised; allowed: protocol=recorrupted"):
        parse(composing("stopping=residual"))
    with pytest.raises(ConfigError, match=r"stopping=held_out: got trainer.held_out=0.0; allowed: more, as in .*=0.1"):
        parse(composing("stopping=held_out"))
    with pytest.raises(ConfigError, match=r"got protocol=recorrupted, by .* all pixels; allowed: another protocol"):
        parse(composing("stopping=held_out", "protocol=recorrupted"))
    everything = set(parse(composing("readers=all")).readers.rules)
    assert set(parse(composing("readers=all")).reading) == everything - {"sure", "residual", "held_out"}
    assert set(parse(composing("readers=all", "trainer.held_out=0.1")).reading) == everything - {"sure", "residual"}
    observed = parse(composing("readers=all", "method=baseline", "method.input=observed"))
    assert set(observed.reading) == everything - {"stage_gain", "residual", "held_out"}
    recorrupted = ("readers=all", "protocol=recorrupted")
    assert set(parse(composing(*recorrupted)).reading) == everything - {"stage_gain", "held_out"}
    assert set(parse(composing(*recorrupted, "protocol.last_alpha=1")).reading) == everything - {"held_out"}
    assert observed.readers.rules["oracle_of_output"].of == "output"
    assert observed.readers.rules["discrepancy_estimated"].sigma == "estimate"


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ("method=baseline", "method.input=observed"),
            "got 0.1 with method.input=observed, by which the network is fed",
        ),
        (("protocol=recorrupted",), "got 0.1 with protocol=recorrupted, by which the network is fed those pixels"),
        (
            ("method=aseqdip",),
            "got 0.1 with method=aseqdip, by which the network is fed those pixels; allowed: 0, or anot",
        ),
        (("loss=perceptual",), "got 0.1 with loss=perceptual, which compares whole neighbourhoods; allowed: 0, or"),
        (("trainer.held_out=0.95",), "got 0.95; allowed: a number >= 0 and <= 0.9"),
    ],
)
def test_pixels_are_not_held_out_where_the_fit_would_see_them(
    composing: Compose, overrides: tuple[str, ...], says: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"trainer.held_out: {says}")):
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
    config = parse(composing(*overrides, "readers=all"))
    assert config.stopping == rule
    governing = parse(composing(*(o for o in overrides if not o.startswith("stopping")), "readers=all"))
    assert governing.readers.rules["auto"] == governing.stopping


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (
            ("stopping.sigma=estimate",),
            "stopping.sigma: got 'estimate' where the fit knows sigma; allowed: ",
        ),
        (("stopping=auto_estimated",), "allowed: protocol.sigma=estimate"),
        (("stopping.tau=-5",), "stopping.tau: got -5"),
        (
            ("stopping=stage_gain",),
            "got protocol=recorrupted with one alpha, which has one stage; allowed: ",
        ),
        (("loss=perceptual",), "loss.name: got 'perceptual' with protocol=recorrupted; allowed: mse"),
        (("protocol.alpha=0",), "protocol.alpha: got 0"),
        (("protocol.last_alpha=1e9",), "protocol.last_alpha: got 1000000000"),
        (("protocol.last_alpha=2", "scheduler.stages=1"), "protocol.last_alpha: got 2.0 with scheduler.stages=1"),
        (("protocol.sigma=guess",), "protocol.sigma: got 'guess'; allowed: known, estimate"),
    ],
)
def test_what_recorruption_cannot_be_is_refused(composing: Compose, overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse(composing("protocol=recorrupted", *overrides))
    if overrides == ("stopping.sigma=estimate",):
        parse(composing("protocol=recorrupted", "protocol.sigma=estimate", *overrides))


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        (("noise=gaussian", "protocol=recorrupted", "readers=all"), []),
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
            ("noise=clipped", "protocol=clean", "stopping=none", "readers=all"),
            ["stopping=discrepancy", "sigma=estimate"],
        ),
    ],
)
def test_a_fit_says_what_it_assumes_of_the_noise_that_does_not_hold(
    composing: Compose, overrides: tuple[str, ...], parts: list[str]
) -> None:
    unmet = parse(composing(*overrides)).unmet
    assert [re.sub(r"^noise=\w+: (\S+) assumes .*", r"\1", said) for said in unmet] == parts


def test_recorruption_rises_in_equal_ratios_and_one_alpha_is_one_stage(composing: Compose) -> None:
    one = parse(composing("protocol=recorrupted", "protocol.alpha=0.4", "trainer.iterations=70"))
    assert (one.alphas, one.stage_numbers(), one.iterations) == ([0.4], ((0.01,), (70,)), 70)
    several = parse(composing("protocol=recorrupted", "protocol.last_alpha=2", "scheduler.stages=3"))
    assert several.alphas == pytest.approx([0.5, 1, 2])
    assert len(several.stage_numbers()[1]) == 3
    assert several.net_input == one.net_input == "observed"


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ("{name: es_wmv, window: 1}", "readers.rules.mine.window: got 1"),
        ("{name: none}", "readers.rules.mine: got the rule 'none'"),
        ("{name: nothing}", "readers.rules.mine.name: got 'nothing'; allowed"),
        ("{window: 3}", "readers.rules.mine.name: got None"),
        ("{name: es_wmv, windows: 3}", "readers.rules.mine.windows: no such setting; allowed: name, window, patience"),
        ("3", "readers.rules.mine.name: got None"),
    ],
)
def test_a_bad_reader_is_named(composing: Compose, rule: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse(composing(f"+readers.rules.mine={rule}"))


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_logger_whose_extra_is_missing_says_what_to_install(
    composing: Compose, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match=rf"logger={extra} needs an extra: pip install 'dip_stages\[{extra}\]'"):
        parse(composing(f"logger={extra}", "data=file", "data.path=x.png"))


def test_mlflow_asks_where_its_server_is(composing: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: ModuleSpec("there", None))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match=r"logger\.tracking_uri: got None; allowed: a tracking server"):
        parse(composing("logger=mlflow"))


def test_every_option_file_opens_with_the_command_that_uses_it() -> None:
    files = [*CONF_DIR.glob("[!h]*/*.yaml"), *SWEEPS_DIR.glob("*.yaml")]
    assert len(files) > 25
    for file in files:
        head = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
        assert "python -m dip_stages" in head[0], file


@pytest.mark.parametrize(
    ("override", "key", "got"),
    [
        ("noise.beta_max=0", "noise.beta_max", "0"),
        ("noise.beta_max=1", "noise.beta_max", "1"),
        ("noise.beta_max=-0.1", "noise.beta_max", "-0.1"),
        ("noise.beta_max=nan", "noise.beta_max", "nan"),
        ("noise.beta_max=high", "noise.beta_max", "high"),
        ("noise.beta_max=0.00005", "scheduler.beta_start", "0.0001"),
        ("scheduler.stages=0", "scheduler.stages", "0"),
        ("scheduler.stages=2.5", "scheduler.stages", "2.5"),
        ("scheduler.name=cosine", "scheduler.name", "cosine"),
        ("budget.alpha=1.1", "budget.alpha", "1.1"),
        ("budget.max_epochs=0", "budget.max_epochs", "0"),
        ("budget.k=-1", "budget.k", "-1"),
        ("budget.name=linear", "budget.name", "linear"),
        ("protocol.name=leaky", "protocol.name", "leaky"),
        ("method.name=dip", "method.name", "dip"),
        ("method.input=picture", "method.input", "picture"),
        ("method.carry=both", "method.carry", "both"),
        ("method.input_channels=0", "method.input_channels", "0"),
        ("arch.width=0", "arch.width", "0"),
        ("arch.width=wide", "arch.width", "wide"),
        ("arch.name=vgg", "arch.name", "vgg"),
        ("arch.upsampling=bicubic", "arch.upsampling", "bicubic"),
        ("~arch", "arch", "None"),
        ("loss.name=l1", "loss.name", "l1"),
        ("trainer.iterations=0", "trainer.iterations", "0"),
        ("trainer.iterations=many", "trainer.iterations", "many"),
        ("trainer.lr=0", "trainer.lr", "0"),
        ("average.decay=1", "average.decay", "1"),
        ("trainer.chunk=0", "trainer.chunk", "0"),
        ("trainer.precision=float16", "trainer.precision", "float16"),
        ("trainer.rollback.jump_db=0", "trainer.rollback.jump_db", "0"),
        ("data.name=lena", "data.name", "lena"),
        ("data.size=8", "data.size", "8"),
        ("data.fit=stretch", "data.fit", "stretch"),
        ("data.source=hub", "data.source", "hub"),
        ("runtime.accelerator=tpu", "runtime.accelerator", "tpu"),
        ("runtime.threads=0", "runtime.threads", "0"),
        ("seed=-1", "seed", "-1"),
        ("seed=1.5", "seed", "1.5"),
        ("noise_seed=true", "noise_seed", "True"),
        ("+trainer.momentum=0.9", "trainer.momentum", "iterations"),
    ],
)
def test_a_bad_setting_is_named_with_what_came(composing: Compose, override: str, key: str, got: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(composing(override))
    message = str(caught.value)
    assert message.startswith(key)
    assert got in message
    assert len(message.splitlines()) == 1


def test_a_budget_without_any_iteration_is_refused(composing: Compose) -> None:
    with pytest.raises(ConfigError, match="leaves no iteration"):
        parse(composing("budget.alpha=1", "budget.k=0"))


def test_the_clean_reference_belongs_to_the_clean_protocol(composing: Compose) -> None:
    leaky = ("loss=perceptual", "loss.reference=clean")
    assert parse(composing("protocol=clean", *leaky)).loss.name == "perceptual"
    with pytest.raises(ConfigError, match=r"loss\.reference: got 'clean' with protocol=renoised"):
        parse(composing("protocol=renoised", *leaky))


def test_a_missing_value_is_asked_for(composing: Compose) -> None:
    with pytest.raises(ConfigError, match=r"data\.path: must be given"):
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


@pytest.mark.parametrize(
    "override",
    ["arch.widht=3", "trainer.rolback.attempts=1", "data.nmae=rocket", "runtime.thread=2", "sweep.retry_faild=true"],
)
def test_an_unknown_setting_lists_the_known_ones(override: str) -> None:
    with pytest.raises(ConfigError, match="no such setting; allowed: ") as caught:
        check_keys([override])
    assert override.partition("=")[0] in str(caught.value)


def test_an_unknown_group_lists_the_known_ones_unless_there_may_be_others() -> None:
    with pytest.raises(ConfigError, match=r"sed: no such group or setting; allowed: arch, .*sweep, seed"):
        check_keys(["sed=1"])
    check_keys(["--config-dir", "mine", "sed=1"])
    with pytest.raises(ConfigError, match="sed"):
        check_keys(["-c", "job", "sed=1"])


def test_known_keys_flags_and_hydras_own_pass() -> None:
    check_keys(["-m", "--cfg", "job", "arch.depth=5", "data.path=a.b=c", "hydra.sweep.dir=x", "hydra/launcher=basic"])
    check_keys(["+new.key=1", "~arch", "arch=unet", "sweep=smoke", "seed=1", "noise_seed=0,1", "outputs=x"])


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
    ("key", "value", "message"),
    [
        ("arch", {"name": "unet", "width": "wide"}, r"arch\.width: Value 'wide'"),
        ("arch", {"name": "unet", "widht": 3}, r"arch\.widht: no such setting; allowed: name, width"),
        ("arch", None, r"arch\.name: got None; allowed: unet"),
        ("arch", {"name": ["unet"]}, r"arch\.name: got \['unet'\]; allowed: unet"),
        ("trainer", 3, "trainer: got 3; allowed: a group with the settings rollback"),
        ("noise", {"beta_max": "${nowhere}"}, r"noise\.beta_max: Interpolation key 'nowhere' not found"),
        ("seed", "${nowhere}", "seed: Interpolation key 'nowhere' not found"),
        ("seed", "1", "seed: got '1'; allowed: a whole number"),
        ("data", {"source": "file", "path": "???"}, r"data\.path: must be given"),
    ],
    ids=str,
)
def test_bad_plain_values_are_named_too(composing: Compose, key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(as_plain(composing) | {key: value})


def test_types_are_told_apart_where_python_takes_them_for_equal(composing: Compose) -> None:
    values = as_plain(composing)
    assert parse(values | {"runtime": {"threads": 1, "checkpoint_every": 1}}).runtime.threads == 1
    with pytest.raises(ConfigError, match=r"runtime\.threads"):
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


def test_a_logger_is_looked_for_in_each_configuration(composing: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("importlib.util.find_spec", lambda _: ModuleSpec("there", None))
        values = as_plain(composing, "logger=wandb")
        assert parse(values).logger.name == "wandb"
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="logger=wandb needs an extra"):
        parse(values)


def test_the_sweeps_own_settings(composing: Compose) -> None:
    options = parse_sweep(composing("sweep=smoke"))
    assert (options.name, options.plan_only, options.retry_failed, options.retries) == ("smoke", False, False, 0)
    assert (options.on_interrupt, options.run, options.exclude) == ("stop", None, ())
    given = ("sweep.plan_only=true", "sweep.retries=3", "sweep.on_interrupt=leave", "+sweep.run=1-a", "sweep.name=7")
    options = parse_sweep(composing(*given, "sweep.exclude=[{arch: dncnn, loss: [mse]}]"))
    assert (options.name, options.plan_only, options.retries) == ("7", True, 3)
    assert (options.on_interrupt, options.run) == ("leave", "1-a")
    assert options.exclude == ({"arch": "dncnn", "loss": ["mse"]},)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sweep.name=null", r"sweep\.name: got None; allowed: letters"),
        ("sweep.name=..", r"sweep\.name: got '\.\.'; allowed: letters"),
        ("sweep.name=a/b", r"sweep\.name: got 'a/b'; allowed: letters"),
        ("sweep.plan_only=yes_please", r"sweep\.plan_only: got 'yes_please'; allowed: true, false"),
        ("sweep.retry_failed=1", r"sweep\.retry_failed: got 1; allowed: true, false"),
        ("sweep.retries=-1", r"sweep\.retries: got -1; allowed: a whole number >= 0"),
        ("sweep.retries=true", r"sweep\.retries: got True; allowed: a whole number >= 0"),
        ("sweep.retries=1.5", r"sweep\.retries: got 1\.5; allowed: a whole number >= 0"),
        ("sweep.on_interrupt=wait", r"sweep\.on_interrupt: got 'wait'; allowed: stop, leave"),
        ("sweep.exclude=dncnn", r"sweep\.exclude: got 'dncnn'; allowed: a list of mappings"),
        ("sweep.exclude=[dncnn]", r"sweep\.exclude: got \['dncnn'\]; allowed: a list of mappings"),
        ("+sweep.exlude=[]", r"sweep\.exlude: no such setting; allowed: name, .*exclude, grids"),
        ("sweep.name=${nowhere}", r"sweep\.name: Interpolation key 'nowhere' not found"),
        ("~sweep.name", r"sweep\.name: got None"),
    ],
)
def test_a_bad_setting_of_a_sweep_is_named(composing: Compose, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_sweep(composing(override))
