"""The option files in ``conf`` and the schemas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from omegaconf import OmegaConf

from dip_stages.config import CONF_DIR, SWEEPS_DIR, parse, parsing
from dip_stages.errors import ConfigError
from tests.raising import refused

if TYPE_CHECKING:
    from tests.conftest import Compose


@pytest.mark.parametrize("group", [p.parent.name + "=" + p.stem for p in sorted(CONF_DIR.glob("[!h]*/*.yaml"))])
def test_every_option_file_parses(composing: Compose, group: str) -> None:
    needs = {
        "data=file": ["data.path=x.png"],
        "data=folder": ["data.path=x"],
        "data=hub": ["data.dataset=a/b"],
        "stopping=sure": ["method.input=observed"],
        "stopping=residual": ["protocol=recorrupted"],
        "stopping=held_out": ["trainer.held_out=0.1"],
        "scheduler=custom": ["scheduler._target_=tests.lab.even"],
        "budget=custom": ["budget._target_=tests.lab.always"],
    }
    if group.endswith("=custom"):
        needs.setdefault(group, [f"{group.partition('=')[0]}._target_=builtins.object"])
    config = parse(composing(group, *needs.get(group, [])))
    assert config.trainer.iterations > 0


def test_every_option_file_opens_with_the_command_that_uses_it() -> None:
    files = [*CONF_DIR.glob("[!h]*/*.yaml"), *SWEEPS_DIR.glob("*.yaml")]
    assert len(files) > 25
    for file in files:
        head = [line for line in file.read_text().splitlines() if not line.startswith("# @package")]
        assert "python -m dip_stages" in head[0], file


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
