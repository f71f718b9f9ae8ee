"""Settings of the methods that fit a network: of the group ``method``, all but the competitors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dip_stages.config.fields import Section, bounded, choice
from dip_stages.config.own import OwnOption
from dip_stages.dip.inputs import INPUTS
from dip_stages.errors import check_choice

__all__ = ["FITS", "OWN_FIT", "MethodConfig", "OwnMethod"]

FITS = ("baseline", "staged", "aseqdip")
"""Names of the methods that fit a network."""


@dataclass(frozen=True)
class MethodConfig(Section, section="method"):
    """Baseline, staged DIP or aSeqDIP, and the network's input; ``lr`` and ``jitter`` override the trainer's."""

    name: str = choice("staged", FITS)
    input: str = "previous_output"
    input_channels: int = bounded(32, at_least=1)
    input_scale: float = bounded(0.1, above=0)
    carry: str = choice("output", ("output", "average"))
    penalty: float = bounded(1.0, at_least=0)
    refresh: int = bounded(2, at_least=1)
    lr: float | None = bounded(None, above=0)
    jitter: float | None = bounded(None, at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        allowed = [kind for kind in INPUTS if self.name == "aseqdip" or kind != "own_output"]
        check_choice("method.input", self.input, allowed)


@dataclass(frozen=True)
class OwnMethod(OwnOption):
    """A :class:`dip_stages.dip.module.DIPModule`, fitted to the stages of ``baseline`` or ``staged``.

    Attributes:
        fit: The settings that it has in common with these; its name is ``like``.
    """

    section = "method"
    given = ("network", "plan", "loss", "settings", "seed", "average", "rule", "monitors", "held_out")
    members = ("training_step", "configure_optimizers", "saved", "resume")
    base = "dip_stages.dip.module.DIPModule"

    fit: MethodConfig = MethodConfig(name="baseline")

    @property
    def _own(self) -> dict[str, Any]:
        return {"like": self.fit.name} | {name: getattr(self.fit, name) for name in OWN_FIT}


OWN_FIT = ("input", "input_channels", "input_scale", "carry", "lr", "jitter")
"""The settings of a method of one's own that are not passed on to it, besides ``like``."""
