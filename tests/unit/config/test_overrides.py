from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st

from dip_stages.config import FileData, parse
from dip_stages.config.overrides import check_keys, for_some_cells, typed_overrides, value_override
from dip_stages.config.sweep import typed_value
from dip_stages.errors import ConfigError
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Compose


@pytest.mark.parametrize(
    "override",
    ["arch.widht=3", "trainer.rolback.attempts=1", "data.nmae=rocket", "runtime.thread=2", "sweep.retry_faild=true"],
)
def test_an_unknown_setting_lists_the_known_ones(override: str) -> None:
    section = override.partition(".")[0]
    known = {"arch": "width", "trainer": "rollback", "data": "name", "runtime": "threads", "sweep": "retry_failed"}
    with refused(ConfigError, override.partition("=")[0], names=(known[section],)):
        check_keys([override])


@pytest.mark.parametrize(
    ("override", "setting", "new"),
    [
        ("readers=all", "readers", "monitors=all"),
        ("+readers.rules.mine=x", "readers.rules.mine", "monitors.rules.mine=x"),
        ("readers@monitors=all", "readers@monitors", "monitors@monitors=all"),
        ("sweep=references", "sweep", "sweep=competitors"),
        ("sweep.references=[nlm]", "sweep.references", "sweep.competitors=[nlm]"),
    ],
)
def test_an_old_name_is_answered_with_the_new_one(override: str, setting: str, new: str) -> None:
    with refused(ConfigError, setting, problem=f"renamed; type {new}"):
        check_keys([override])


@pytest.mark.parametrize("entry", ["- override /readers: all", "  - /readers@monitors: all", "- readers: none"])
@pytest.mark.parametrize("option", ["--config-dir={}", "-cd {}"])
def test_an_old_name_in_the_defaults_of_ones_own_configs_is_answered_too(
    tmp_path: Path, entry: str, option: str
) -> None:
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "mine.yaml").write_text(f"# readers: all\ndefaults:\n{entry}\n  - _self_\n")
    with refused(ConfigError, entry.split()[-2].strip("/:"), problem="type monitors"):
        check_keys([*option.format(tmp_path).split(), "sweep=mine"])


def test_an_unknown_group_lists_the_known_ones_unless_there_may_be_others() -> None:
    with refused(ConfigError, "sed", names=("arch, ", "sweep, seed")):
        check_keys(["sed=1"])
    check_keys(["--config-dir", "mine", "sed=1"])
    with refused(ConfigError, "sed"):
        check_keys(["-c", "job", "sed=1"])


def test_known_keys_flags_and_hydras_own_pass() -> None:
    check_keys(["-m", "--cfg", "job", "arch.depth=5", "data.path=a.b=c", "hydra.sweep.dir=x", "hydra/launcher=basic"])
    check_keys(["~arch", "arch=unet", "sweep=smoke", "seed=1", "noise_seed=0,1", "outputs=x"])


@given(number=st.floats(allow_nan=False).map(repr) | st.integers().map(str))
def test_any_number_typed_for_beta_max_sets_the_value(number: str) -> None:
    assert value_override(f"beta_max={number}") == f"noise.beta_max={number}"
    assert value_override(f"beta_max={number},{number}") == f"noise.beta_max={number},{number}"


def test_everything_else_is_left_alone() -> None:
    for override in ("beta_max=b0.02", "beta_max=b0.01,b0.02", "seed=0.5", "--help", "noise.beta_max=0.1", "beta_max"):
        assert value_override(override) == override


@example(path="/\\=x")
@example(path="/\\\\x")
@given(st.text("ab/.é日 \\'\"()=<>;&#!`^~\x1b\n\u202e\udcff", min_size=1).map(lambda name: f"/{name}x"))
def test_a_file_of_any_name_can_be_typed(path: str) -> None:
    typed = value_override(f"data.path={path}")
    assert OverridesParser.create().parse_override(typed).value() == path
    assert value_override(typed) == typed
    assert OverridesParser.create().parse_override(f"data.path={typed_value(path)}").value() == path


@pytest.mark.parametrize("override", ["data.path='é'", "arch.channels=[1,é", "x=${oc.env:É}", "--config-dir=é", "é"])
def test_what_is_quoted_or_no_plain_text_is_left_to_hydra(override: str) -> None:
    assert value_override(override) == override


def test_several_files_are_quoted_one_by_one_unless_it_is_one(tmp_path: Path) -> None:
    assert value_override("data.path=é,ü") == "data.path='é','ü'"
    (tmp_path / "é,ü").touch()
    assert value_override(f"data.path={tmp_path}/é,ü") == f"data.path='{tmp_path}/é,ü'"


def test_a_section_that_is_added_and_that_nothing_reads_is_refused() -> None:
    for added in ("+foo=1", "++foo.bar=1"):
        with refused(ConfigError, "foo", problem="nothing refers to it", names=("arch, average",)):
            check_keys([added, "arch.width=8"])
    check_keys(["+foo=8", "arch.width=${foo}"])
    check_keys(["+foo=8", "arch.width=${oc.select:foo,3}"])
    check_keys(["+foo=8", "--config-dir=own"])
    check_keys(["+arch.width=8", "+runtime.threads=1", "+preset=smoke"])


@pytest.mark.parametrize(
    "typed",
    [
        ["data.size=null"], ["arch=unet,dncnn", "arch.width=8"], ["arch.width=1,2"], ["data=file", "data.path='é.png'"],
        ["trainer.lr=0.1"], ["sweep.name=w${arch.width}", "arch.width=12"], ["loss=perceptual", "loss.weight=1"],
    ],
)  # fmt: skip
def test_what_the_sweep_as_a_whole_has_stays_a_setting_of_it(typed: list[str]) -> None:
    assert for_some_cells(typed) == typed


def test_a_setting_that_only_some_cells_have_is_an_axis() -> None:
    typed = ["sweep=custom", "loss=mse,perceptual_pretrained", "loss.path='a b/é.pth'", "seed=0"]
    assert for_some_cells(typed)[2] == "loss.path=choice('a b/é.pth')"
    assert for_some_cells(["loss=mse,perceptual", "loss.weight=1"])[1] == "loss.weight=choice(1)"


@pytest.mark.parametrize(
    "name", ["a,b.png", "{c}.png", "d(e).png", "f$g.png", "h=i.png", "[k].png", "l'm.png", "n o.png"]
)
def test_a_file_that_is_there_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, composing: Compose, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).touch()
    composed = composing("data=file", *typed_overrides([f"data.path={name}"], sweep=False))
    assert parse(composed).data == FileData(path=name)


def test_a_name_that_is_read_as_an_interpolation_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "${x}.png").touch()
    with refused(ConfigError, "data.path", got="${x}.png", problem="interpolation"):
        typed_overrides(["data.path=${x}.png"], sweep=False)
    assert typed_overrides(["data.path=${x}"], sweep=False) == ["data.path=${x}"]


@pytest.mark.parametrize(
    ("typed", "hydras"),
    [
        ("beta_max=b0.01,0.05", "noise.beta_max=0.01,0.05"),
        ("beta_max=choice(0.01,0.05)", "noise.beta_max=0.01,0.05"),
        ("beta_max=choice(b0.01,0.05)", "noise.beta_max=0.01,0.05"),
        ("beta_max=range(0.01,0.04,0.01)", "noise.beta_max=0.01,0.02,0.03"),
        ("beta_max=interval(0.01,0.02)", "noise.beta_max=interval(0.01,0.02)"),
        ("beta_max=b0.01,b0.02", "beta_max=b0.01,b0.02"),
        ("beta_max=mine", "beta_max=mine"),
        ("sigma=choice(0.1,0.2)", "noise.beta_max=0.01,0.04"),
    ],
)
def test_values_of_beta_max_may_be_numbers_options_and_hydras_forms(typed: str, hydras: str) -> None:
    assert value_override(typed) == hydras


def test_a_number_beside_an_option_that_is_not_there_is_refused() -> None:
    with refused(ConfigError, "beta_max", got="b0.3", names=("b0.01", "a number")):
        value_override("beta_max=b0.3,0.05")
