"""The schema: a dataclass a group, each checking its own values; :class:`Config` checks them against each other.

Frozen: cells of a sweep share what they have in common. A field added later takes the value that stands for what there
was before as ``field(default=..., metadata={"neutral": ...})``, and with that value leaves identities as they were.
"""

from __future__ import annotations

import functools
import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path

from dip_stages.config.denoisers import COMPETITORS, CompetitorConfig
from dip_stages.config.stopping import (
    SIGMAS,
    AverageConfig,
    HeldOutConfig,
    MonitorsConfig,
    OracleConfig,
    ResidualConfig,
    StageGainConfig,
    StoppingConfig,
    SureConfig,
)
from dip_stages.dip.budgets import BUDGETS, allocate
from dip_stages.dip.schedules import SCHEDULES, beta_schedule
from dip_stages.errors import ConfigError, check_choice, check_range
from dip_stages.images.reading import BUNDLED, FITS, MIN_SIDE, bundled_path
from dip_stages.images.sources import COURSE_IMAGE, image_in_folder, image_of_dataset

__all__ = [
    "ARCHS",
    "LOSSES",
    "METHODS",
    "SOURCES",
    "ArchConfig",
    "BudgetConfig",
    "BundledData",
    "ButterfliesData",
    "Config",
    "DataConfig",
    "DnCNNConfig",
    "EnsembleConfig",
    "FileData",
    "FolderData",
    "LoggerConfig",
    "LossConfig",
    "MSEConfig",
    "MethodConfig",
    "NoiseConfig",
    "PerceptualConfig",
    "ProtocolConfig",
    "ResNetConfig",
    "RollbackConfig",
    "RuntimeConfig",
    "SchedulerConfig",
    "TrainerConfig",
    "UNetConfig",
]


@dataclass(frozen=True)
class UNetConfig:
    """See :class:`dip_stages.dip.archs.unet.UNet`."""

    name: str = "unet"
    width: int = 64
    scales: int = 5
    skip_channels: int = 4
    padding_mode: str = "reflect"
    upsampling: str = "bilinear"

    def __post_init__(self) -> None:
        check_range("arch.width", self.width, at_least=1)
        check_range("arch.scales", self.scales, at_least=1, at_most=10)
        check_range("arch.skip_channels", self.skip_channels, at_least=0)
        check_choice("arch.padding_mode", self.padding_mode, ("reflect", "zeros"))
        check_choice("arch.upsampling", self.upsampling, ("bilinear", "nearest"))


@dataclass(frozen=True)
class DnCNNConfig:
    """See :class:`dip_stages.dip.archs.dncnn.DnCNN`."""

    name: str = "dncnn"
    width: int = 64
    depth: int = 17

    def __post_init__(self) -> None:
        check_range("arch.width", self.width, at_least=1)
        check_range("arch.depth", self.depth, at_least=3)


@dataclass(frozen=True)
class ResNetConfig:
    """See :class:`dip_stages.dip.archs.resnet.ResNet`."""

    name: str = "resnet"
    width: int = 64
    blocks: int = 8

    def __post_init__(self) -> None:
        check_range("arch.width", self.width, at_least=1)
        check_range("arch.blocks", self.blocks, at_least=1)


@dataclass(frozen=True)
class MethodConfig:
    """Baseline, staged DIP or aSeqDIP, and what the network is fed; an ``lr`` here goes before the trainer's."""

    name: str = "staged"
    input: str = "previous_output"
    input_channels: int = 32
    input_scale: float = 0.1
    carry: str = "output"
    penalty: float = 1.0
    refresh: int = 2
    lr: float | None = field(default=None, metadata={"neutral": None})
    jitter: float | None = field(default=None, metadata={"neutral": None})

    def __post_init__(self) -> None:
        check_choice("method.name", self.name, ("baseline", "staged", "aseqdip"))
        own = ("own_output",) if self.name == "aseqdip" else ()
        check_choice("method.input", self.input, (*_INPUTS, *own))
        check_range("method.input_channels", self.input_channels, at_least=1)
        check_range("method.input_scale", self.input_scale, above=0)
        check_choice("method.carry", self.carry, ("output", "average"))
        check_range("method.penalty", self.penalty, at_least=0)
        check_range("method.refresh", self.refresh, at_least=1)
        if self.lr is not None:
            check_range("method.lr", self.lr, above=0)
        if self.jitter is not None:
            check_range("method.jitter", self.jitter, at_least=0)


_INPUTS = ("previous_output", "fixed_noise", "noise_and_previous", "observed")


@dataclass(frozen=True)
class SchedulerConfig:
    """The noise schedule; see :func:`dip_stages.dip.schedules.beta_schedule`, which checks it."""

    name: str = "linear"
    beta_start: float = 0.0001
    stages: int = 10

    def __post_init__(self) -> None:
        check_choice("scheduler.name", self.name, SCHEDULES)


@dataclass(frozen=True)
class BudgetConfig:
    """Iterations per stage; see :mod:`dip_stages.dip.budgets`, which checks it."""

    name: str = "saturating"
    max_epochs: int = 3000
    alpha: float = 0.9
    k: float = 150.0
    rescale: bool = True

    def __post_init__(self) -> None:
        check_choice("budget.name", self.name, BUDGETS)


@dataclass(frozen=True)
class ProtocolConfig:
    """What the stage targets are made from, and how; see :func:`dip_stages.dip.stages.staged_plan`."""

    name: str = "renoised"
    alpha: float = 0.5
    last_alpha: float | None = None
    sigma: str = "known"

    def __post_init__(self) -> None:
        check_choice("protocol.name", self.name, ("clean", "renoised", "observed", "recorrupted"))
        check_range("protocol.alpha", self.alpha, at_least=0.001, at_most=1000)
        if self.last_alpha is not None:
            check_range("protocol.last_alpha", self.last_alpha, at_least=0.001, at_most=1000)
        check_choice("protocol.sigma", self.sigma, SIGMAS)


@dataclass(frozen=True)
class MSEConfig:
    """See :class:`dip_stages.dip.losses.MSELoss`."""

    name: str = "mse"


@dataclass(frozen=True)
class PerceptualConfig:
    """See :class:`dip_stages.dip.losses.PerceptualLoss`."""

    name: str = "perceptual"
    weight: float = 0.1
    features: str = "random"
    path: str | None = None
    reference: str = "target"
    seed: int = 0

    def __post_init__(self) -> None:
        check_range("loss.weight", self.weight, at_least=0)
        check_range("loss.seed", self.seed, at_least=0)
        check_choice("loss.features", self.features, ("random", "pretrained"))
        check_choice("loss.reference", self.reference, ("target", "clean"))


@dataclass(frozen=True)
class NoiseConfig:
    """The observation's noise: its variance on the [0, 1] scale, and which (:func:`dip_stages.dip.noise.corrupted`)."""

    beta_max: float = 0.01
    name: str = field(default="gaussian", metadata={"neutral": "gaussian"})

    def __post_init__(self) -> None:
        check_choice("noise.name", self.name, ("gaussian", "clipped", "poisson", "speckle"))
        check_range("noise.beta_max", self.beta_max, above=0, below=1)


@dataclass(frozen=True)
class _SizedData:
    size: int | None = 128
    fit: str = "cover"

    def __post_init__(self) -> None:
        if self.size is not None:
            check_range("data.size", self.size, at_least=MIN_SIDE, at_most=8192)
        check_choice("data.fit", self.fit, FITS)


@dataclass(frozen=True)
class BundledData(_SizedData):
    """An image of scikit-image's wheel."""

    source: str = "bundled"
    name: str = "rocket"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("data.name", self.name, BUNDLED)

    @property
    def file(self) -> Path:
        """Where the image is."""
        return bundled_path(self.name)


@dataclass(frozen=True)
class FileData(_SizedData):
    """A clean image of the user's own."""

    source: str = "file"
    path: str = "???"

    @property
    def file(self) -> Path:
        """Where the image is."""
        return Path(self.path).expanduser()

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.file.stem


@dataclass(frozen=True)
class _IndexedData(_SizedData):
    index: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("data.index", self.index, at_least=0)


@dataclass(frozen=True)
class FolderData(_IndexedData):
    """A clean image of a folder; see :func:`dip_stages.images.sources.image_in_folder`."""

    source: str = "folder"
    path: str = "???"

    @property
    def file(self) -> Path:
        """Where the image is."""
        return image_in_folder(self.path, self.index)

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.file.stem


@dataclass(frozen=True)
class ButterfliesData(_IndexedData):
    """An image of the course report's data set or another (:func:`~dip_stages.images.sources.image_of_dataset`)."""

    source: str = "butterflies"
    dataset: str = COURSE_IMAGE["dataset"]
    split: str = COURSE_IMAGE["split"]
    column: str = "image"
    streaming: bool = True

    @property
    def file(self) -> Path:
        """Where the image is, once it has been fetched."""
        return image_of_dataset(self.dataset, self.split, self.column, self.index, streaming=self.streaming)

    @property
    def name(self) -> str:
        """The data set's name without its owner's, and the row."""
        return f"{Path(self.dataset).name}-{self.index}"


@dataclass(frozen=True)
class EnsembleConfig:
    """How many fits of the same observation, each with a seed of its own, are averaged to one result."""

    members: int = field(default=1, metadata={"neutral": 1})

    def __post_init__(self) -> None:
        check_range("ensemble.members", self.members, at_least=1)


@dataclass(frozen=True)
class RollbackConfig:
    """See :class:`dip_stages.dip.rollback.Rollback`."""

    jump_db: float = 5.0
    attempts: int = 5

    def __post_init__(self) -> None:
        check_range("trainer.rollback.jump_db", self.jump_db, above=0)
        check_range("trainer.rollback.attempts", self.attempts, at_least=0)


@dataclass(frozen=True)
class TrainerConfig:
    """See :class:`dip_stages.dip.settings.FitSettings`."""

    rollback: RollbackConfig
    iterations: int = 1500
    lr: float = 0.01
    jitter: float = 1 / 30
    chunk: int = 20
    precision: str = "auto"
    layout: str = field(default="auto", metadata={"neutral": "auto"})
    held_out: float = field(default=0.0, metadata={"neutral": 0.0})

    def __post_init__(self) -> None:
        check_range("trainer.iterations", self.iterations, at_least=1)
        check_range("trainer.lr", self.lr, above=0)
        check_range("trainer.jitter", self.jitter, at_least=0)
        check_range("trainer.chunk", self.chunk, at_least=1)
        check_choice("trainer.precision", self.precision, ("auto", "float32", "bfloat16"))
        check_choice("trainer.layout", self.layout, ("auto", "channels_last", "contiguous"))
        check_range("trainer.held_out", self.held_out, at_least=0, at_most=0.9)


_LOGGERS = {"none": None, "csv": None, "tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


@dataclass(frozen=True)
class LoggerConfig:
    """Where the curves go besides the cell's own ``curves.csv``."""

    name: str = "csv"
    project: str = "dip_stages"
    tracking_uri: str | None = None

    def __post_init__(self) -> None:
        check_choice("logger.name", self.name, _LOGGERS)

    def check_machine(self) -> None:
        """Look for what the logger needs here and now; unlike the settings themselves, that may change.

        Raises:
            ConfigError: If its extra is not installed or its server's address is not given.
        """
        extra = _LOGGERS[self.name]
        if extra and importlib.util.find_spec(extra) is None:
            raise ConfigError(
                ", which needs an extra",
                setting="logger",
                got=self.name,
                allowed=f"pip install 'dip_stages[{extra}]'; without it: csv, none",
            )
        if self.name == "mlflow" and not (self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")):
            raise ConfigError(
                setting="logger.tracking_uri",
                got=self.tracking_uri,
                allowed="a tracking server's address, as in logger.tracking_uri=http://localhost:5000, "
                "or the same in MLFLOW_TRACKING_URI",
            )


@dataclass(frozen=True)
class RuntimeConfig:
    """How a cell is computed: nothing that changes the result."""

    accelerator: str = "auto"
    threads: int | None = None
    overwrite: bool = False
    checkpoint_every: float | None = 60.0
    keep_checkpoint: bool = False
    cuda_graphs: bool = True
    members_together: int = 1

    def __post_init__(self) -> None:
        check_choice("runtime.accelerator", self.accelerator, ("auto", "cpu", "cuda", "mps"))
        if self.threads is not None:
            check_range("runtime.threads", self.threads, at_least=1)
        if self.checkpoint_every is not None:
            check_range("runtime.checkpoint_every", self.checkpoint_every, at_least=0)
        check_range("runtime.members_together", self.members_together, at_least=1)


ArchConfig = UNetConfig | DnCNNConfig | ResNetConfig
LossConfig = MSEConfig | PerceptualConfig
DataConfig = BundledData | FileData | FolderData | ButterfliesData


@dataclass(frozen=True)
class Config:
    """A whole configuration, every part checked, and the parts against each other."""

    method: MethodConfig | CompetitorConfig
    arch: ArchConfig
    scheduler: SchedulerConfig
    budget: BudgetConfig
    protocol: ProtocolConfig
    loss: LossConfig
    noise: NoiseConfig
    data: DataConfig
    trainer: TrainerConfig
    average: AverageConfig
    stopping: StoppingConfig
    monitors: MonitorsConfig
    ensemble: EnsembleConfig
    logger: LoggerConfig
    runtime: RuntimeConfig
    seed: int
    noise_seed: int

    def __post_init__(self) -> None:
        check_range("seed", self.seed, at_least=0)
        check_range("noise_seed", self.noise_seed, at_least=0)
        self.logger.check_machine()
        if not isinstance(self.method, MethodConfig):
            self.method.check_machine()
            return  # what belongs to fits does not apply
        if not self.readable_by(self.stopping):
            what, allowed = self._what_it_would_read(self.stopping)
            raise ConfigError(f" with {what}", setting="stopping", got=self.stopping.name, allowed=allowed)
        if self.recorrupted:
            self._check_recorruption()
        if self.trainer.held_out:
            self._check_held_out()
        if self.staged:
            self.stage_numbers()
            blind = self.protocol.name != "clean"
            if blind and isinstance(self.loss, PerceptualConfig) and self.loss.reference == "clean":
                raise ConfigError(
                    f" with protocol={self.protocol.name}",
                    setting="loss.reference",
                    got="clean",
                    allowed="target (clean only with protocol=clean)",
                )

    @property
    def fit(self) -> MethodConfig:
        """The method, where a network is fitted to the observation; a competitor fits none."""
        assert isinstance(self.method, MethodConfig)  # noqa: S101 - whoever asks has asked `competitor` before
        return self.method

    @property
    def competitor(self) -> CompetitorConfig | None:
        """The method, if it is no Deep Image Prior: arch, stages, loss, trainer, average and rules do not apply."""
        return None if isinstance(self.method, MethodConfig) else self.method

    @property
    def staged(self) -> bool:
        """Whether the staged axes apply: the baseline has no scheduler, budget, protocol or loss of its own."""
        return self.method.name == "staged"

    @property
    def recorrupted(self) -> bool:
        """Whether input and target get noise anew at each iteration."""
        return self.staged and self.protocol.name == "recorrupted"

    @property
    def sees_clean(self) -> bool:
        """Whether fit or stop is guided by the clean image: a reproduction or an analysis, and no denoiser."""
        ruled = self.competitor is None and isinstance(self.stopping, OracleConfig)
        return ruled or (self.staged and self.protocol.name == "clean")

    @property
    def iterations(self) -> int:
        """Iterations of the whole cell, all members of an ensemble together; a stopping rule may leave some of them."""
        if self.competitor:
            return 0
        return self.ensemble.members * (sum(self.stage_numbers()[1]) if self.staged else self.trainer.iterations)

    @property
    def net_input(self) -> str:
        """Where the network's input comes from; the baseline has no previous output to feed on."""
        if self.method.name == "aseqdip":
            return "own_output"
        if self.recorrupted:
            return "observed"
        return self.fit.input if self.staged or self.fit.input == "observed" else "fixed_noise"

    @property
    def _fed_the_image_by(self) -> str | None:
        """The setting by which the network is fed the observed image; None if it is not."""
        if self.recorrupted:
            return "protocol=recorrupted"
        if self.fit.name == "aseqdip":
            return "method=aseqdip"
        return "method.input=observed" if self.net_input == "observed" else None

    @property
    def lr(self) -> float:
        """The learning rate: the method's own, else the trainer's."""
        return self.trainer.lr if self.fit.lr is None else self.fit.lr

    @property
    def jitter(self) -> float:
        """The standard deviation of the input's jitter: the method's own, else the trainer's."""
        return self.trainer.jitter if self.fit.jitter is None else self.fit.jitter

    def readable_by(self, rule: StoppingConfig) -> bool:
        """Whether a rule can say anything of such a fit: some need several stages, or a certain input or target."""
        if isinstance(rule, SureConfig):
            return self.net_input == "observed"
        if isinstance(rule, ResidualConfig):
            return self.recorrupted
        if isinstance(rule, HeldOutConfig):
            return self.trainer.held_out > 0
        return (self.staged and not self.stages_alike) or not isinstance(rule, StageGainConfig)

    def _check_recorruption(self) -> None:
        if isinstance(self.loss, PerceptualConfig):
            raise ConfigError(" with protocol=recorrupted", setting="loss.name", got=self.loss.name, allowed="mse")
        if self.protocol.last_alpha is not None and self.scheduler.stages == 1:
            raise ConfigError(
                " with scheduler.stages=1",
                setting="protocol.last_alpha",
                got=self.protocol.last_alpha,
                allowed="null, or more stages",
            )

    def _check_held_out(self) -> None:
        if fed_by := self._fed_the_image_by:
            raise ConfigError(
                f" with {fed_by}, by which the network is fed those pixels",
                setting="trainer.held_out",
                got=self.trainer.held_out,
                allowed=f"0, or another {fed_by.partition('=')[0]}",
            )
        if self.staged and isinstance(self.loss, PerceptualConfig):
            raise ConfigError(
                f" with loss={self.loss.name}, which compares whole neighbourhoods",
                setting="trainer.held_out",
                got=self.trainer.held_out,
                allowed="0, or loss=mse",
            )

    def _what_it_would_read(self, rule: StoppingConfig) -> tuple[str, str]:
        """Return what there is and what there should be, of a rule that can say nothing of this fit."""
        if isinstance(rule, SureConfig):
            return f"method.input={self.net_input}", "method.input=observed"
        if isinstance(rule, HeldOutConfig):
            if fed_by := self._fed_the_image_by:
                return f"{fed_by}, by which the network is fed all pixels", f"another {fed_by.partition('=')[0]}"
            return f"trainer.held_out={self.trainer.held_out}", "more, as in trainer.held_out=0.1"
        if isinstance(rule, ResidualConfig) and self.staged:
            return f"protocol={self.protocol.name}", "protocol=recorrupted"
        if self.stages_alike:
            return "protocol=recorrupted with one alpha, which has one stage", "protocol.last_alpha=…"
        return f"method={self.method.name}", "method=staged"

    @property
    def unmet(self) -> tuple[str, ...]:
        """What parts of this fit assume of the noise that does not hold of it, a sentence each, for people."""
        noise = self.noise.name
        if noise == "gaussian":
            return ()
        if self.competitor:
            return (f"noise={noise}: method={self.competitor.name} assumes Gaussian noise of one variance",)
        rules = {rule.name: rule for rule in (self.stopping, *self.active_monitors.values())}
        found = {}
        if self.recorrupted:
            found["protocol=recorrupted"] = "Gaussian noise of one variance, of which it draws more"
        if self.staged and self.protocol.name == "renoised":
            found["protocol=renoised"] = "that adding Gaussian noise gives a noisier image of the same kind"
        if "sure" in rules:
            found["stopping=sure"] = "Gaussian noise of one variance, without which it estimates no risk"
        if "discrepancy" in rules and noise == "clipped":
            found["stopping=discrepancy"] = "a variance of beta_max; clipping leaves less, so it stops too soon"
        if self._estimates_sigma:
            found["sigma=estimate"] = "Gaussian noise of one variance"
        return tuple(f"noise={noise}: {part} assumes {what}" for part, what in found.items())

    @property
    def _estimates_sigma(self) -> bool:
        rules = (self.stopping, *self.active_monitors.values())
        return (self.recorrupted and self.protocol.sigma == "estimate") or any(
            getattr(rule, "sigma", None) == "estimate" for rule in rules
        )

    @property
    def active_monitors(self) -> dict[str, StoppingConfig]:
        """The monitors, less those that do not apply to such a fit."""
        return {label: rule for label, rule in self.monitors.rules.items() if self.readable_by(rule)}

    @property
    def stages_alike(self) -> bool:
        """Whether stages would not differ in anything, and there is therefore but one."""
        return self.recorrupted and self.protocol.last_alpha is None

    @property
    def alphas(self) -> list[float]:
        """The recorruption of each stage, from the first to the last in equal ratios."""
        first, last = self.protocol.alpha, self.protocol.last_alpha
        if last is None:
            return [first]
        steps = max(1, self.scheduler.stages - 1)
        return [first * (last / first) ** (stage / steps) for stage in range(self.scheduler.stages)]

    def stage_numbers(self) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """Return the stages' betas, noisiest first, and their iterations.

        Raises:
            ConfigError: If the schedule is out of range or no iteration is left.
        """
        if self.stages_alike:
            return (self.noise.beta_max,), (self.trainer.iterations,)
        total = self.trainer.iterations if self.budget.rescale else None
        return _stage_numbers(self.scheduler, self.noise.beta_max, self.budget, total)


@functools.cache
def _stage_numbers(
    scheduler: SchedulerConfig, beta_max: float, budget: BudgetConfig, total: int | None
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    betas = beta_schedule(scheduler.name, beta_start=scheduler.beta_start, beta_max=beta_max, stages=scheduler.stages)[
        ::-1
    ]
    budgets = allocate(budget.name, betas, max_epochs=budget.max_epochs, alpha=budget.alpha, k=budget.k, total=total)
    return betas, budgets


METHODS = dict.fromkeys(("baseline", "staged", "aseqdip"), MethodConfig) | COMPETITORS
ARCHS = {"unet": UNetConfig, "dncnn": DnCNNConfig, "resnet": ResNetConfig}
LOSSES = {"mse": MSEConfig, "perceptual": PerceptualConfig}
SOURCES = {"bundled": BundledData, "file": FileData, "folder": FolderData, "butterflies": ButterfliesData}
