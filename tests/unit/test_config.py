from __future__ import annotations

from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING

import pytest

from dip_stages.config import CONF_DIR, SWEEPS_DIR, check_keys, parse
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
    config = parse(composing(group, *(["data.path=x.png"] if group == "data=file" else [])))
    assert config.trainer.iterations > 0


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
        ("trainer.average_decay=1", "trainer.average_decay", "1"),
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
