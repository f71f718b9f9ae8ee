from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import OmegaConf

from dip_stages.config.fields import Section, bounded, choice, options
from dip_stages.errors import ConfigError
from tests.raising import refused


@dataclass(frozen=True)
class Wide(Section, section="shape"):
    name: str = "wide"
    width: int = bounded(64, at_least=1, at_most=99)
    share: float | None = bounded(None, above=0, below=1)
    sides: list[str] = choice(["left"], ("left", "right"))  # noqa: RUF009
    gain: float = bounded(0.0, neutral=0.0)


@dataclass(frozen=True)
class Tall(Section, section="shape"):
    name: str = "tall"


def writable() -> Any:
    config = OmegaConf.structured(Wide)
    OmegaConf.set_readonly(config, value=False)  # a frozen schema is read-only
    return config


@pytest.mark.parametrize(
    ("values", "setting", "got", "allowed"),
    [
        ({"width": 0}, "shape.width", 0, "a number >= 1 and <= 99"),
        ({"width": 100}, "shape.width", 100, "a number >= 1 and <= 99"),
        ({"share": 1.0}, "shape.share", 1.0, "a number > 0 and < 1"),
        ({"sides": ["left", "up"]}, "shape.sides", "up", "left, right"),
        ({"gain": float("inf")}, "shape.gain", float("inf"), "a number that is finite"),
    ],
)
def test_a_value_that_its_field_does_not_allow_is_refused(
    values: dict[str, Any], setting: str, got: object, allowed: str
) -> None:
    with refused(ConfigError, setting, got=got, allowed=allowed):
        Wide(**values)
    with refused(ConfigError, setting, got=got, allowed=allowed):
        OmegaConf.to_object(OmegaConf.merge(writable(), values))


def test_none_is_allowed_where_the_field_may_be_none() -> None:
    assert Wide(share=None).share is None
    with pytest.raises(TypeError):
        Wide(width=None)  # type: ignore[arg-type]


def test_a_section_is_a_plain_dataclass_to_omegaconf() -> None:
    section = OmegaConf.to_object(OmegaConf.structured(Wide))
    assert section == Wide()
    assert section.sides is not Wide().sides
    with pytest.raises(dataclasses.FrozenInstanceError):
        section.width = 3


def test_options_are_named_by_their_schemas() -> None:
    assert options(Wide | Tall) == {"wide": Wide, "tall": Tall}


def test_a_field_keeps_further_metadata() -> None:
    (gain,) = (field for field in dataclasses.fields(Wide) if field.name == "gain")
    assert gain.metadata["neutral"] == 0.0
