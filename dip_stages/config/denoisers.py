"""The schemas of the competitors: methods that are no Deep Image Prior, for the tables' sake."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field

from dip_stages.config.stopping import SIGMAS
from dip_stages.errors import ConfigError, check_choice, check_range
from dip_stages.images.reading import BUNDLED, MIN_SIDE
from dip_stages.images.sources import COURSE_IMAGE

__all__ = [
    "COMPETITORS",
    "COMPETITOR_OPTIONS",
    "MIN_IMAGES",
    "BM3DConfig",
    "CompetitorConfig",
    "DDPMConfig",
    "NLMConfig",
    "TVConfig",
    "TrainingConfig",
]

MIN_IMAGES = 2
"""Images without which there is no training: of one alone a network learns that one."""


@dataclass(frozen=True)
class _Competitor:
    sigma: str = "known"

    def __post_init__(self) -> None:
        check_choice("method.sigma", self.sigma, SIGMAS)

    def check_machine(self) -> None:
        """Look for the package that it needs, if it needs one that not everybody has.

        Raises:
            ConfigError: If it is not installed.
        """


@dataclass(frozen=True)
class NLMConfig(_Competitor):
    """See :func:`dip_stages.denoisers.classical.nlm`."""

    name: str = "nlm"
    patch: int = 5
    distance: int = 6
    strength: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("method.patch", self.patch, at_least=1)
        check_range("method.distance", self.distance, at_least=1)
        check_range("method.strength", self.strength, above=0)


@dataclass(frozen=True)
class TVConfig(_Competitor):
    """See :func:`dip_stages.denoisers.classical.tv`."""

    name: str = "tv"
    strength: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("method.strength", self.strength, above=0)


@dataclass(frozen=True)
class BM3DConfig(_Competitor):
    """See :func:`dip_stages.denoisers.classical.bm3d`."""

    name: str = "bm3d"

    def check_machine(self) -> None:
        """As :meth:`_Competitor.check_machine`."""
        _check_extra(self.name, "bm3d")


@dataclass(frozen=True)
class TrainingConfig:
    """What a DDPM is trained on, and how; see :class:`dip_stages.denoisers.ddpm.DDPM`."""

    source: str = "bundled"
    pictures: list[str] = field(default_factory=lambda: ["astronaut", "chelsea", "coffee"])
    path: str | None = None
    dataset: str = COURSE_IMAGE["dataset"]
    split: str = COURSE_IMAGE["split"]
    column: str = COURSE_IMAGE["column"]
    rows: int = 200
    sizes: list[int] = field(default_factory=lambda: [64, 128, 256])
    crop: int = 32
    width: int = 24
    timesteps: int = 1000
    beta_start: float = 0.0001
    beta_end: float = 0.02
    iterations: int = 1500
    batch: int = 16
    lr: float = 0.001
    ema: float = 0.995
    seed: int = 0

    def __post_init__(self) -> None:
        where = "method.training"
        check_choice(f"{where}.source", self.source, ("bundled", "folder", "butterflies"))
        for name in self.pictures:
            check_choice(f"{where}.pictures", name, BUNDLED)
        if self.source == "bundled" and len(set(self.pictures)) < MIN_IMAGES:
            raise ConfigError(setting=f"{where}.pictures", got=self.pictures, allowed=f"{MIN_IMAGES} images or more")
        if self.source == "folder" and self.path is None:
            raise ConfigError(f"must be given with {where}.source=folder", setting=f"{where}.path")
        check_range(f"{where}.rows", self.rows, at_least=MIN_IMAGES)
        if self.crop % 4 or self.crop < MIN_SIDE:
            raise ConfigError(setting=f"{where}.crop", got=self.crop, allowed=f"a multiple of 4, {MIN_SIDE} or more")
        if not self.sizes or min(self.sizes) < self.crop:
            raise ConfigError(
                setting=f"{where}.sizes", got=self.sizes, allowed=f"sides no smaller than the crop, {self.crop}"
            )
        if self.width < 8 or self.width % 8:
            raise ConfigError(
                setting=f"{where}.width", got=self.width, allowed="a multiple of 8, which are normalised together"
            )
        check_range(f"{where}.timesteps", self.timesteps, at_least=1)
        check_range(f"{where}.beta_start", self.beta_start, above=0, below=1)
        check_range(f"{where}.beta_end", self.beta_end, at_least=self.beta_start, below=1)
        check_range(f"{where}.iterations", self.iterations, at_least=1)
        check_range(f"{where}.batch", self.batch, at_least=1)
        check_range(f"{where}.lr", self.lr, above=0)
        check_range(f"{where}.ema", self.ema, at_least=0, below=1)
        check_range(f"{where}.seed", self.seed, at_least=0)


@dataclass(frozen=True)
class DDPMConfig(_Competitor):
    """A diffusion model trained on other images, used as a denoiser; see :class:`dip_stages.denoisers.ddpm.DDPM`."""

    name: str = "ddpm"
    reverse: str = "ancestral"
    samples: int = 4
    model: str | None = None
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("method.reverse", self.reverse, ("ancestral", "mean"))
        check_range("method.samples", self.samples, at_least=1)

    def check_machine(self) -> None:
        """As :meth:`_Competitor.check_machine`."""
        _check_extra(self.name, "diffusers")


def _check_extra(name: str, package: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ConfigError(
            f", which needs {package}, which is not installed",
            setting="method",
            got=name,
            allowed=f"pip install 'dip_stages[{name}]' (in a checkout: pip install -e '.[{name}]')",
        )


CompetitorConfig = NLMConfig | TVConfig | BM3DConfig | DDPMConfig
COMPETITORS = {"nlm": NLMConfig, "tv": TVConfig, "bm3d": BM3DConfig, "ddpm": DDPMConfig}
COMPETITOR_OPTIONS = (*COMPETITORS, "ddpm_mean")
"""Those of the group ``method``."""
