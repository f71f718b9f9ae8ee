"""A whole configuration: a frozen dataclass of its sections, and what follows from them together.

Frozen, because the cells of a sweep share sections. A setting added later keeps the identities of older cells if its
field has ``metadata={"neutral": value}``: with that value it is no part of an identity.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

from dip_stages.config.arch import ArchConfig
from dip_stages.config.assumptions import unmet_assumptions
from dip_stages.config.competitors import CompetitorConfig, DDPMConfig
from dip_stages.config.conflicts import check_conflicts
from dip_stages.config.data import DataConfig, FolderData, NoiseConfig
from dip_stages.config.loss import LossConfig
from dip_stages.config.method import MethodConfig, OwnMethod
from dip_stages.config.own import OwnOption
from dip_stages.config.own_axes import OwnBudget, OwnLogger, OwnNoise, OwnRule, OwnScheduler
from dip_stages.config.runtime import LoggerConfig, RuntimeConfig
from dip_stages.config.stages import BudgetConfig, ProtocolConfig, SchedulerConfig, stage_numbers
from dip_stages.config.stopping import AverageConfig, MonitorsConfig, OracleConfig, StoppingConfig
from dip_stages.config.trainer import EnsembleConfig, TrainerConfig
from dip_stages.errors import check_range

__all__ = ["Config", "is_recorrupted"]


@dataclass(frozen=True)
class Config:
    """A whole configuration. Each section has checked itself; this checks them against each other."""

    method: MethodConfig | OwnMethod | CompetitorConfig
    arch: ArchConfig
    scheduler: SchedulerConfig | OwnScheduler
    budget: BudgetConfig | OwnBudget
    protocol: ProtocolConfig
    loss: LossConfig
    noise: NoiseConfig | OwnNoise
    data: DataConfig
    trainer: TrainerConfig
    average: AverageConfig
    stopping: StoppingConfig
    monitors: MonitorsConfig
    ensemble: EnsembleConfig
    logger: LoggerConfig | OwnLogger
    runtime: RuntimeConfig
    seed: int
    noise_seed: int

    def __post_init__(self) -> None:
        check_range("seed", self.seed, at_least=0)
        check_range("noise_seed", self.noise_seed, at_least=0)
        if not self.competitor:  # to which the settings of fits do not apply
            check_conflicts(self)

    @property
    def fit(self) -> MethodConfig:
        """The method of a fit; not for competitors, which fit no network."""
        assert isinstance(self.method, (MethodConfig, OwnMethod))  # noqa: S101 - callers check `competitor` first
        return self.method.fit if isinstance(self.method, OwnMethod) else self.method

    @property
    def competitor(self) -> CompetitorConfig | None:
        """The method if it is a competitor, to which only image, noise and seeds apply; None for a fit."""
        return None if isinstance(self.method, (MethodConfig, OwnMethod)) else self.method

    @property
    def on_device(self) -> bool:
        """Whether it computes on ``runtime.accelerator``; classical competitors compute on the CPU."""
        return self.competitor is None or isinstance(self.method, DDPMConfig)

    @property
    def staged(self) -> bool:
        """Whether scheduler, budget, protocol and loss apply; other methods have one stage and MSE."""
        return is_staged(self.method)

    @property
    def recorrupted(self) -> bool:
        """Whether input and target get new noise at each iteration."""
        return is_recorrupted(self.method, self.protocol)

    @property
    def sees_clean(self) -> bool:
        """Whether fit or stop is guided by the clean image: a reproduction or an analysis, and no denoiser."""
        ruled = self.competitor is None and sees_clean(self.stopping)
        return ruled or (self.staged and self.protocol.name == "clean")

    @property
    def iterations(self) -> int:
        """Iterations of the whole cell, all members of an ensemble together; a stopping rule may save some of them."""
        if self.competitor:
            return 0
        return self.ensemble.members * (sum(self.stage_numbers()[1]) if self.staged else self.trainer.iterations)

    @property
    def net_input(self) -> str:
        """Where the network's input comes from; the baseline has no previous output to use."""
        if self.fit.name == "aseqdip":
            return "own_output"
        if self.recorrupted:
            return "observed"
        return self.fit.input if self.staged or self.fit.input == "observed" else "fixed_noise"

    @property
    def feeds_observed(self) -> str | None:
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

    @property
    def active_monitors(self) -> dict[str, StoppingConfig]:
        """The monitors, without those that cannot be computed for this fit."""
        return {label: rule for label, rule in self.monitors.rules.items() if not rule.conflict(self)}

    @property
    def unmet(self) -> tuple[str, ...]:
        """What parts of this cell assume of the noise that does not hold of it, a sentence each, for people."""
        return unmet_assumptions(self)

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders that images are counted in: of the image, and of those that a model is trained on."""
        data = (self.data.path,) if isinstance(self.data, FolderData) else ()
        training = self.method.training if isinstance(self.method, DDPMConfig) else None
        return (*data, str(training.path)) if training is not None and training.source == "folder" else data

    @property
    def stages_alike(self) -> bool:
        """Whether the stages would not differ in anything; there is only one then."""
        return self.recorrupted and self.protocol.last_alpha is None

    @property
    def levels_matter(self) -> bool:
        """Whether the stages' betas change targets or budgets."""
        fixed_targets = self.protocol.name in ("observed", "recorrupted")
        return not (self.stages_alike or (fixed_targets and self.budget.name == "constant"))

    @property
    def alphas(self) -> list[float]:
        """The recorruption of each stage, from the first to the last in equal ratios."""
        first, last = self.protocol.alpha, self.protocol.last_alpha
        if last is None:
            return [first]
        steps = max(1, self.scheduler.stages - 1)
        return [first * (last / first) ** (stage / steps) for stage in range(self.scheduler.stages)]

    def plain(self) -> dict[str, Any]:
        """Return the configuration as plain nested values, from which ``parse`` makes the same one."""
        return {key: _plain(value) for key, value in vars(self).items()}

    def stage_numbers(self) -> tuple[tuple[float, ...], tuple[int, ...]]:
        """Return the stages' betas, noisiest first, and their iterations.

        Raises:
            ConfigError: If the schedule is out of range or no iteration is left.
        """
        if self.stages_alike:
            return (self.noise.beta_max,), (self.trainer.iterations,)
        total = self.trainer.iterations if self.budget.rescale else None
        return stage_numbers(self.scheduler, self.noise.beta_max, self.budget, total)


def _plain(part: Any) -> Any:
    if isinstance(part, OwnOption):
        return part.values
    if dataclasses.is_dataclass(part):
        return {field.name: _plain(getattr(part, field.name)) for field in dataclasses.fields(part)}
    if isinstance(part, dict):
        return {key: _plain(value) for key, value in part.items()}
    return copy.copy(part) if isinstance(part, list) else part


def sees_clean(rule: StoppingConfig) -> bool:
    """Whether a stopping rule looks at the clean image."""
    return rule.takes("clean") if isinstance(rule, OwnRule) else isinstance(rule, OracleConfig)


def is_staged(method: MethodConfig | OwnMethod | CompetitorConfig) -> bool:
    """Whether a method is fitted in stages."""
    return (method.fit if isinstance(method, OwnMethod) else method).name == "staged"


def is_recorrupted(method: MethodConfig | OwnMethod | CompetitorConfig, protocol: ProtocolConfig) -> bool:
    """Whether a method's input and target get new noise at each iteration."""
    return is_staged(method) and protocol.name == "recorrupted"
