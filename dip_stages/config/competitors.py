"""Settings of the competitors: of the group ``method``, those that are no Deep Image Prior."""

from __future__ import annotations

from dataclasses import dataclass, field

from dip_stages.config.data import SIGMAS
from dip_stages.config.fields import Section, bounded, choice, options
from dip_stages.errors import ConfigError, check_range
from dip_stages.images.reading import BUNDLED, MIN_SIDE
from dip_stages.images.sources import COURSE_IMAGE

__all__ = [
    "COMPETITOR_OPTIONS",
    "MIN_IMAGES",
    "BM3DConfig",
    "CompetitorConfig",
    "DDPMConfig",
    "NLMConfig",
    "TVConfig",
    "TrainingConfig",
    "draws",
    "option_of",
]

MIN_IMAGES = 2
"""Fewest images to train on: from a single one a network learns only that one."""

_DDPM_MEAN = "ddpm_mean"


@dataclass(frozen=True)
class _Competitor(Section, section="method"):
    sigma: str = choice("known", SIGMAS)


@dataclass(frozen=True)
class NLMConfig(_Competitor):
    """See :func:`dip_stages.denoisers.classical.nlm`."""

    name: str = "nlm"
    patch: int = bounded(5, at_least=1)
    distance: int = bounded(6, at_least=1)
    strength: float = bounded(0.8, above=0)


@dataclass(frozen=True)
class TVConfig(_Competitor):
    """See :func:`dip_stages.denoisers.classical.tv`."""

    name: str = "tv"
    strength: float = bounded(0.7, above=0)


@dataclass(frozen=True)
class BM3DConfig(_Competitor):
    """See :func:`dip_stages.denoisers.classical.bm3d`."""

    name: str = "bm3d"


@dataclass(frozen=True)
class TrainingConfig(Section, section="method.training"):
    """What a DDPM is trained on, and how; see :class:`dip_stages.denoisers.ddpm.DDPM`."""

    source: str = choice("bundled", ("bundled", "folder", "hub"))
    pictures: list[str] = choice(["astronaut", "chelsea", "coffee"], BUNDLED)  # noqa: RUF009 - a field with a factory
    path: str | None = None
    dataset: str = COURSE_IMAGE["dataset"]
    config: str | None = None
    split: str = COURSE_IMAGE["split"]
    column: str = COURSE_IMAGE["column"]
    streaming: bool = True
    rows: int = bounded(200, at_least=MIN_IMAGES)
    sizes: list[int] = field(default_factory=lambda: [64, 128, 256])
    crop: int = 32
    width: int = 24
    timesteps: int = bounded(1000, at_least=1)
    beta_start: float = bounded(0.0001, above=0, below=1)
    beta_end: float = 0.02
    iterations: int = bounded(1500, at_least=1)
    batch: int = bounded(16, at_least=1)
    lr: float = bounded(0.001, above=0)
    ema: float = bounded(0.995, at_least=0, below=1)
    seed: int = bounded(0, at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_source()
        self._check_sides()
        check_range("method.training.beta_end", self.beta_end, at_least=self.beta_start, below=1)

    def _check_source(self) -> None:
        if self.source == "bundled" and len(set(self.pictures)) < MIN_IMAGES:
            self._refuse("pictures", f"{MIN_IMAGES} images or more")
        if self.source == "folder" and self.path is None:
            raise ConfigError(f"must be given with {self.section}.source=folder", setting=f"{self.section}.path")

    def _check_sides(self) -> None:
        if self.crop % 4 or self.crop < MIN_SIDE:
            self._refuse("crop", f"a multiple of 4, {MIN_SIDE} or more")
        if not self.sizes or min(self.sizes) < self.crop:
            self._refuse("sizes", f"sides no smaller than the crop, {self.crop}")
        if self.width < 8 or self.width % 8:
            self._refuse("width", "a multiple of 8, which are normalised together")

    def _refuse(self, name: str, allowed: str) -> None:
        raise ConfigError(setting=f"{self.section}.{name}", got=getattr(self, name), allowed=allowed)


@dataclass(frozen=True)
class DDPMConfig(_Competitor):
    """A diffusion model trained on other images, used as a denoiser; see :class:`dip_stages.denoisers.ddpm.DDPM`."""

    name: str = "ddpm"
    reverse: str = choice("ancestral", ("ancestral", "mean"))
    samples: int = bounded(4, at_least=1)
    model: str | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)


CompetitorConfig = NLMConfig | TVConfig | BM3DConfig | DDPMConfig
COMPETITOR_OPTIONS = (*options(CompetitorConfig), _DDPM_MEAN)
"""The competitors among the options of the group ``method``."""


def option_of(method: CompetitorConfig) -> str:
    """Return the option of the group ``method`` that a competitor's settings are."""
    return _DDPM_MEAN if isinstance(method, DDPMConfig) and method.reverse == "mean" else method.name


def draws(method: CompetitorConfig) -> bool:
    """Whether a competitor draws random numbers, so that its seed counts."""
    return isinstance(method, DDPMConfig) and method.reverse == "ancestral"
