from __future__ import annotations

import collections
import dataclasses
import time
from typing import TYPE_CHECKING, Any

import pytest
from hydra.errors import HydraException
from hydra.types import RunMode

from dip_stages.config import DDPMConfig, file_of
from dip_stages.errors import ConfigError
from dip_stages.sweep.compose import Composer
from dip_stages.sweep.planning import plan_sweep
from tests.planning import a_counting_loader
from tests.raising import refused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dip_stages.sweep.plan import Plan
    from tests.conftest import Compose

    MakePlan = Callable[..., Plan]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all plans, none of which is written, so that configs are composed once for all tests."""
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def planned(composing: Compose, outputs: Path, monkeypatch: pytest.MonkeyPatch) -> MakePlan:
    """Plan a sweep as ``python -m dip_stages -m <arguments>`` does.

    Only the call of ``verify`` is tested: it takes three times as long as all the rest, and test_compose.py tests it.
    """
    del composing  # it keeps Hydra initialised
    verified: list[Sequence[tuple[str, ...]]] = []
    monkeypatch.setattr(Composer, "verify", lambda _, points: verified.append(points))

    def plan(*arguments: str) -> Plan:
        loader = a_counting_loader()
        every = [f"outputs={outputs}", *arguments]
        config = loader.loader.load_configuration("config", every, RunMode.MULTIRUN)
        plan = plan_sweep(config, loader, every)  # type: ignore[arg-type]
        assert {planned.overrides for planned in plan.cells} <= set(verified.pop())
        return plan

    return plan


def axis(plan: Plan, *names: str) -> list[Any]:
    values = [tuple(planned.cell.axes[name] for name in names) for planned in plan.cells]
    return [value[0] for value in values] if len(names) == 1 else values


def test_the_default_sweep_is_the_full_grid_of_30_cells(planned: MakePlan, outputs: Path) -> None:
    plan = planned()
    assert (plan.name, plan.root) == ("full_grid", outputs / "full_grid")
    assert collections.Counter(axis(plan, "method", "arch")) == {
        (method, arch): count
        for method, count in (("baseline", 2), ("staged", 8))
        for arch in ("unet", "dncnn", "resnet")
    }
    assert {loss for method, loss in axis(plan, "method", "loss") if method == "baseline"} == {"mse"}
    assert set(axis(plan, "protocol")) == {None, "renoised"}


def test_the_reports_table_is_its_8_rows_under_two_protocols_and_2_baselines(planned: MakePlan) -> None:
    plan = planned("sweep=report_table")
    assert collections.Counter(axis(plan, "protocol")) == {None: 2, "clean": 8, "renoised": 8}
    rows = [row[1:] for row in axis(plan, "protocol", "beta_max", "scheduler", "loss") if row[0] == "clean"]
    losses = ("mse", "perceptual")
    assert rows == [(beta, s, loss) for beta in (0.01, 0.02) for s in ("linear", "scaled_linear") for loss in losses]


def test_smoke_has_every_network_and_protocol_once(planned: MakePlan) -> None:
    plan = planned("sweep=smoke")
    assert len(plan.cells) == 8
    assert set(axis(plan, "arch")) == {"unet", "dncnn", "resnet"}
    assert set(axis(plan, "protocol")) == {None, "clean", "renoised", "observed", "recorrupted"}


def test_values_on_the_command_line_narrow_and_widen(planned: MakePlan) -> None:
    plan = planned("arch=unet", "seed=0,1,2")
    assert len(plan.cells) == 30
    assert set(axis(plan, "arch")) == {"unet"}
    assert collections.Counter(axis(plan, "seed")) == {0: 10, 1: 10, 2: 10}


@pytest.mark.parametrize("override", ["beta_max=b0.02", "noise.beta_max=0.02"])
def test_the_noise_level_is_one_axis_however_it_is_written(planned: MakePlan, override: str) -> None:
    plan = planned("sweep=report_table", override)
    assert axis(plan, "beta_max") == [0.02] * 9


def test_a_loss_given_to_every_grid_leaves_the_baselines_alone(planned: MakePlan) -> None:
    plan = planned("loss=mse,perceptual", "arch=unet")
    assert collections.Counter(axis(plan, "method", "loss")) == {
        ("baseline", "mse"): 2,
        ("staged", "mse"): 4,
        ("staged", "perceptual"): 4,
    }


def test_a_custom_sweep_is_the_command_line_alone(planned: MakePlan) -> None:
    plan = planned("sweep=custom", "method.input=previous_output,fixed_noise")
    assert axis(plan, "input") == ["previous_output", "fixed_noise"]


def test_competitors_join_a_sweep_once_an_observation(planned: MakePlan) -> None:
    """For any other axes and rules of the sweep; with its seeds if they use random numbers."""
    plan = planned(
        "sweep=report_table", "seed=0,1", "method.carry=average", "sweep.competitors=[nlm,ddpm,ddpm_mean]",
        "sweep.exclude=[{loss: perceptual}]",
    )  # fmt: skip
    denoised = [row[1:] for row in axis(plan, "kind", "method", "beta_max", "seed") if row[0] != "fit"]
    assert denoised == [
        ("nlm", 0.01, None),
        ("nlm", 0.02, None),
        *(("ddpm", beta_max, seed) for beta_max in (0.01, 0.02) for seed in (0, 1)),
        ("ddpm_mean", 0.01, None),
        ("ddpm_mean", 0.02, None),
    ]
    assert len(plan.cells) == len(denoised) + 2 * (2 + 8)
    alone = planned("sweep=custom", "method=nlm", "beta_max=b0.01")
    assert alone.cells[0].cell.id in {planned.cell.id for planned in plan.cells}


def test_a_competitor_that_there_is_not_is_refused(planned: MakePlan) -> None:
    with refused(ConfigError, "sweep.competitors", got="staged", allowed="nlm, tv, bm3d, ddpm, ddpm_mean"):
        planned("sweep.competitors=[staged]")


def test_competitors_take_settings_of_their_own(planned: MakePlan) -> None:
    plan = planned(
        "sweep=custom", "method=baseline",
        "sweep.competitors=[{method:tv,method.sigma:estimate},"
        "{method:ddpm,method.training.iterations:7,method.training.pictures:[chelsea,coffee]}]",
    )  # fmt: skip
    assert axis(plan, "method") == ["baseline", "tv", "ddpm"]
    method = plan.cells[2].cell.config.method
    assert isinstance(method, DDPMConfig)
    assert (method.training.iterations, method.training.pictures) == (7, ["chelsea", "coffee"])
    with refused(ConfigError, "sweep.competitors", got="seed", names=("method, ", "method.sigma")):
        planned("sweep=custom", "sweep.competitors=[{method:tv,seed:3}]")


def test_what_a_trained_competitor_learns_from_may_change_so_its_plan_is_not_cached_by_files_alone(
    planned: MakePlan,
) -> None:
    assert "made_from" in dataclasses.replace(planned("sweep=custom", "method=nlm"), made_from="x")._cached_by()
    assert not dataclasses.replace(planned("sweep=custom", "method=ddpm"), made_from="x")._cached_by()


def test_a_cell_of_a_sweep_has_one_thread_unless_told_otherwise(planned: MakePlan) -> None:
    assert {p.cell.config.runtime.threads for p in planned("sweep=smoke").cells} == {1}
    assert {p.cell.config.runtime.threads for p in planned("sweep=smoke", "runtime.threads=2").cells} == {2}


@pytest.mark.parametrize("name", ["my(1).png", "it's, odd.png", "a=b.png"])
def test_grids_take_file_names_that_hydras_grammar_would_not(planned: MakePlan, tmp_path: Path, name: str) -> None:
    from dip_stages.images.reading import bundled_path

    image = tmp_path / name
    image.write_bytes(bundled_path("coffee").read_bytes())
    quoted = str(image).replace("'", "\\'")
    plan = planned("sweep=custom", f"sweep.grids=[{{data:file,data.path:'{quoted}'}}]")
    assert [file_of(p.cell.config.data) for p in plan.cells] == [image]


@pytest.mark.parametrize(
    ("arguments", "setting", "got", "way"),
    [
        (("sweep=custom", "sweep.grids=all"), "sweep.grids", "all", "a list"),
        (("sweep=smoke", "sweep.name=null"), "sweep.name", None, "letters"),
        (("sweep=smoke", "sweep.name='../up'"), "sweep.name", "../up", "letters"),
        (("runtime.threads=1,2",), "runtime.threads", ..., ""),
        (("seed=range(0,3)", "trainer.lr=interval(0.1,0.2)"), "trainer.lr", "interval(0.1,0.2)", "a=1,2,3"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused(
    planned: MakePlan, arguments: tuple[str, ...], setting: str, got: object, way: str
) -> None:
    with refused(ConfigError, setting, got=got, names=(way,)):
        planned(*arguments)


def test_what_hydra_cannot_find_is_refused_in_its_words(planned: MakePlan) -> None:
    with pytest.raises(HydraException, match="Could not find 'arch/vnet'"):
        planned("arch=unet,vnet")


def test_a_bad_value_names_the_cell(planned: MakePlan) -> None:
    with refused(ConfigError, "noise.beta_max", got=3) as caught:
        planned("noise.beta_max=0.01,3")
    assert caught.value.where == "typed: noise.beta_max=3"


def test_rules_leave_out_combinations_in_every_grid(planned: MakePlan) -> None:
    plan = planned("sweep.exclude=[{arch: dncnn, loss: [mse, perceptual], beta_max: 0.02}, {arch: [resnet]}]")
    counts = collections.Counter(axis(plan, "method", "arch", "beta_max"))
    staged = {("staged", "unet", 0.01): 4, ("staged", "unet", 0.02): 4, ("staged", "dncnn", 0.01): 4}
    baselines = {("baseline", arch, beta): 1 for arch in ("unet", "dncnn") for beta in (0.01, 0.02)}
    # A baseline has no loss axis, so the first rule does not match it.
    assert counts == staged | baselines


def test_a_grid_may_have_rules_of_its_own(planned: MakePlan) -> None:
    grids = "[{method: baseline, arch: [unet, dncnn]}, {arch: [unet, dncnn], exclude: [{arch: dncnn}]}]"
    plan = planned("sweep=custom", f"sweep.grids={grids}")
    assert axis(plan, "method", "arch") == [("baseline", "unet"), ("baseline", "dncnn"), ("staged", "unet")]


@pytest.mark.parametrize(
    ("arguments", "setting", "got", "problem", "way"),
    [
        (("sweep.exclude=[{arhc: dncnn}]",), "sweep.exclude: arhc", ..., "", "arch, average, beta_max"),
        (("sweep.exclude=[{noise_seed: 0}]",), "sweep.exclude", ..., "all 30 points", ""),
        (("sweep.exclude=all",), "sweep.exclude", "all", "", "a list of mappings"),
        (("sweep=custom", "sweep.grids=[{exclude: [3]}]"), "sweep.exclude", [3], "", "a list of mappings"),
        (("sweep.retries=many",), "sweep.retries", "many", "", ">= 0"),
    ],
)
def test_bad_rules_and_settings_are_refused_before_anything_is_composed(
    planned: MakePlan, arguments: tuple[str, ...], setting: str, got: object, problem: str, way: str
) -> None:
    with refused(ConfigError, setting, got=got, problem=problem, names=(way,)):
        planned(*arguments)


def test_a_big_sweep_is_planned_in_seconds(planned: MakePlan) -> None:
    began = time.process_time()
    plan = planned("seed=range(0,100)")
    assert len(plan.cells) == 3000
    # Hydra alone would take two minutes.
    assert time.process_time() - began < 15
    assert len({id(p.cell.config.trainer) for p in plan.cells}) == 1


def test_a_bad_value_deep_in_a_big_sweep_names_its_cell(planned: MakePlan) -> None:
    with refused(ConfigError, "seed", got=-1) as caught:
        planned("sweep=custom", "method=staged", "arch=unet,dncnn", "seed=range(20,-2,-1)")
    assert caught.value.where == "typed: method=staged arch=unet seed=-1"
