from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from omegaconf import DictConfig, OmegaConf

from dip_stages.cells.identity import cell_of
from dip_stages.config import parse

if TYPE_CHECKING:
    from tests.conftest import Compose

quickly = settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
# Two compositions each, and Hydra takes its time; shrinking would take minutes.
composed = settings(quickly, max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate])


def shuffled(values: Any, random: Any) -> Any:
    if not isinstance(values, dict):
        return values
    keys = list(values)
    random.shuffle(keys)
    return {key: shuffled(values[key], random) for key in keys}


def plain(config: DictConfig) -> dict[str, Any]:
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


@quickly
@given(random=st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_count(composing: Compose, random: Any) -> None:
    values = plain(composing())
    assert cell_of(parse(shuffled(values, random))).id == cell_of(parse(values)).id


@quickly
@given(
    scheduler=st.sampled_from(["linear", "scaled_linear"]),
    protocol=st.sampled_from(["clean", "renoised", "observed", "recorrupted"]),
    budget=st.sampled_from(["saturating", "decaying", "constant"]),
    stages=st.integers(1, 50),
    alpha=st.floats(0, 0.99),
    threads=st.integers(1, 64),
)
def test_ignored_settings_make_no_other_cell_of_a_baseline(
    composing: Compose, scheduler: str, protocol: str, budget: str, stages: int, alpha: float, threads: int
) -> None:
    values = plain(composing("method=baseline"))
    same = cell_of(parse(values)).id
    values["scheduler"] |= {"name": scheduler, "stages": stages}
    values["budget"] |= {"name": budget, "alpha": alpha}
    values["protocol"]["name"] = protocol
    values["runtime"]["threads"] = threads
    assert cell_of(parse(values)).id == same


_CHOSEN = st.fixed_dictionaries(
    {
        "method": st.sampled_from(["baseline", "staged", "aseqdip"]),
        "arch": st.sampled_from(["unet", "dncnn", "resnet"]),
        "scheduler": st.sampled_from(["linear", "scaled_linear"]),
        "budget": st.sampled_from(["saturating", "decaying", "constant"]),
        "protocol": st.sampled_from(["clean", "renoised", "observed", "recorrupted"]),
        "loss": st.sampled_from(["mse", "perceptual", "perceptual_pretrained"]),
    },
    optional={
        "preset": st.sampled_from(["smoke", "paper"]),
        "seed": st.integers(0, 9),
        "budget.rescale": st.sampled_from(["true", "false"]),
    },
)


def _overrides(chosen: dict[str, object]) -> tuple[str, ...]:
    if chosen["protocol"] == "recorrupted":  # with MSE alone
        chosen = {**chosen, "loss": "mse"}
    return tuple(f"{key}={value}" for key, value in chosen.items())


WORTH_A_CELL = _CHOSEN.map(_overrides)
"""Overrides of any kind of cell."""


def identity(composing: Compose, *overrides: str) -> str:
    return cell_of(parse(composing(*overrides))).id


def leaves(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in values.items():
        found += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found


@composed
@given(overrides=WORTH_A_CELL, data=st.data())
def test_an_axis_typed_with_the_value_that_it_has_anyway_does_not_count(
    composing: Compose, overrides: tuple[str, ...], data: st.DataObject
) -> None:
    whole = plain(composing(*overrides))
    sections = {key: value for key, value in whole.items() if key not in ("sweep", "outputs")}
    key, value = data.draw(st.sampled_from(leaves(sections)))
    cell = (*(o for o in overrides if not o.startswith(f"{key}=")), f"{key}={json.dumps(value)}")
    assert identity(composing, *cell) == cell_of(parse(whole)).id


@composed
@given(overrides=WORTH_A_CELL, random=st.randoms(use_true_random=False))
def test_the_order_of_overrides_does_not_count(composing: Compose, overrides: tuple[str, ...], random: Any) -> None:
    other = random.sample(overrides, len(overrides))
    assert identity(composing, *other) == identity(composing, *overrides)


@composed
@given(overrides=WORTH_A_CELL, launcher=st.sampled_from(["basic", "joblib", "local"]))
def test_the_launcher_does_not_count(composing: Compose, overrides: tuple[str, ...], launcher: str) -> None:
    assert identity(composing, *overrides, f"hydra/launcher={launcher}") == identity(composing, *overrides)


@composed
@given(overrides=WORTH_A_CELL, accelerator=st.sampled_from(["auto", "cpu", "cuda", "mps"]), threads=st.integers(1, 64))
def test_the_device_does_not_count(
    composing: Compose, overrides: tuple[str, ...], accelerator: str, threads: int
) -> None:
    elsewhere = identity(composing, *overrides, f"runtime.accelerator={accelerator}", f"runtime.threads={threads}")
    assert elsewhere == identity(composing, *overrides)


@composed
@given(overrides=WORTH_A_CELL, folder=st.text("abc/._- ", min_size=1), logger=st.sampled_from(["none", "csv"]))
def test_where_results_and_curves_go_does_not_count(
    composing: Compose, overrides: tuple[str, ...], folder: str, logger: str
) -> None:
    elsewhere = identity(composing, *overrides, f"outputs='{folder}'", f"logger={logger}")
    assert elsewhere == identity(composing, *overrides)


IGNORED = [
    ("method=baseline", "method.carry=average"),
    ("method=baseline", "method.input=noise_and_previous"),
    ("method=baseline", "scheduler.stages=3"),
    ("method=baseline", "budget.max_epochs=9"),
    ("method.input=fixed_noise", "method.carry=average"),
    ("method.input=noise_and_previous", "method.carry=average"),
    ("method=staged method.input=previous_output", "method.input_channels=7"),
    ("method=staged method.input=observed", "method.input_scale=7"),
    ("method=aseqdip", "trainer.lr=0.5"),
    ("method=aseqdip", "trainer.jitter=0.5"),
    ("method=aseqdip", "scheduler.stages=3"),
    ("protocol=renoised loss=perceptual_pretrained", "loss.seed=5"),
    ("protocol=renoised loss=perceptual_pretrained", "loss.path=elsewhere.pth"),
    ("budget=constant", "budget.alpha=0.3"),
    ("budget=constant", "budget.k=3"),
    ("budget=constant budget.rescale=true", "budget.max_epochs=9"),
    ("method=staged protocol=renoised budget.rescale=false", "trainer.iterations=9"),
    ("protocol=observed budget=constant", "scheduler=scaled_linear"),
    ("protocol=observed budget=constant", "scheduler.beta_start=0.005"),
    ("method=staged protocol=recorrupted loss=mse", "scheduler.stages=3"),
    ("method=staged protocol=recorrupted loss=mse", "budget=decaying"),
    ("method=staged protocol=recorrupted loss=mse", "trainer.jitter=0.5"),
    ("protocol=observed", "protocol.alpha=0.7"),
    ("data.size=null", "data.fit=crop"),
]


@composed
@given(overrides=WORTH_A_CELL, case=st.sampled_from(IGNORED))
def test_what_is_ignored_does_not_count(composing: Compose, overrides: tuple[str, ...], case: tuple[str, str]) -> None:
    given_, ignored = case[0].split(), case[1]
    replaced = {override.partition("=")[0] for override in (*given_, ignored)}
    cell = (*(o for o in overrides if o.partition("=")[0] not in replaced), *given_)
    assert identity(composing, *cell, ignored) == identity(composing, *cell)


COUNTED = {
    "seed": 11,
    "noise_seed": 1,
    "noise.beta_max": 0.03,
    "noise": "speckle",
    "arch.width": 9,
    "method.input_scale": 0.3,
    "trainer.lr": 0.003,
    "trainer.jitter": 0.5,
    "average.decay": 0.5,
    "average": "window",
    "stopping": "es_emv",
    "stopping.tau": 1.1,
    "stopping.sigma": "estimate",
    "monitors": "all",
    "trainer.chunk": 3,
    "trainer.precision": "float32",
    "trainer.layout": "contiguous",
    "trainer.rollback.jump_db": 1,
    "trainer.rollback.attempts": 1,
    "data.name": "coffee",
    "data.size": 77,
    "data.fit": "crop",
}


@composed
@given(overrides=WORTH_A_CELL, key=st.sampled_from(sorted(COUNTED)))
def test_what_changes_any_cell_counts(composing: Compose, overrides: tuple[str, ...], key: str) -> None:
    # aSeqDIP and what is recorrupted have no noise to scale, and a learning rate, a jitter or a rule of their own.
    others = ("method=aseqdip", "protocol=recorrupted")
    cell = tuple(o for o in overrides if not o.startswith(f"{key}=") and o not in others)
    assert identity(composing, *cell, f"{key}={COUNTED[key]}") != identity(composing, *cell)


def test_pixels_that_are_held_out_count(composing: Compose) -> None:
    shares = ("0", "0.1", "0.2")  # not of every cell, and so not above
    assert len({identity(composing, "method=baseline", f"trainer.held_out={share}") for share in shares}) == 3


@quickly
@given(seeds=st.lists(st.integers(0, 2**31), min_size=2, max_size=2, unique=True), beta=st.floats(0.001, 0.5))
def test_different_cells_have_different_ids(composing: Compose, seeds: list[int], beta: float) -> None:
    values = plain(composing())
    ids = {
        cell_of(parse(values | {"seed": seed, "noise": {"beta_max": b}})).id for seed in seeds for b in (beta, beta / 2)
    }
    assert len(ids) == 4
