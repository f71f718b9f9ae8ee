"""Settings of the methods that fit a network: of the group ``method``, all but the competitors."""

from __future__ import annotations

from dataclasses import dataclass

from dip_stages.config.fields import Section, bounded, choice
from dip_stages.dip.inputs import INPUTS
from dip_stages.errors import check_choice

__all__ = ["FITS", "MethodConfig"]

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
