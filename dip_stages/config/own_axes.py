"""What each axis takes that is written outside of this package: arguments, members of a class, settings of ours."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from dip_stages.config.fields import Conflict
from dip_stages.config.own import OwnOption, check_count, check_flag, optional
from dip_stages.config.targets import parameters_of, takes
from dip_stages.errors import ConfigError, check_choice, check_range

if TYPE_CHECKING:
    from dip_stages.config.config import Config

__all__ = [
    "OwnArch",
    "OwnAverage",
    "OwnBudget",
    "OwnLogger",
    "OwnLoss",
    "OwnNoise",
    "OwnOptimizer",
    "OwnRule",
    "OwnScheduler",
]


@dataclass(frozen=True)
class OwnArch(OwnOption):
    """A network, from ``(1, in_channels, H, W)`` to an image ``(1, out_channels, H, W)`` in [0, 1]."""

    section = "arch"
    given = ("in_channels", "out_channels", "size")
    needed = ("in_channels", "out_channels")
    members = ("forward", "parameters")
    base = "torch.nn.Module"

    @property
    def settings(self) -> dict[str, Any]:
        """What it is called with; without the width that presets give to every network, if it takes none."""
        settings = super().settings
        if "width" in settings and not takes(self.load(), "width"):
            del settings["width"]
        return settings


@dataclass(frozen=True)
class OwnLoss(OwnOption):
    """A :class:`dip_stages.dip.losses.Loss`, or a module that compares an output with a target."""

    section = "loss"
    members = ("forward",)
    base = "torch.nn.Module"


@dataclass(frozen=True)
class OwnAverage(OwnOption):
    """A :class:`dip_stages.dip.averages.Average`."""

    section = "average"
    members = ("begin", "update", "age", "state", "restore")
    base = "dip_stages.dip.averages.Average"


@dataclass(frozen=True)
class OwnRule(OwnOption):
    """A :class:`dip_stages.dip.stopping.base.Rule`; ``sigma`` is where its noise level is from, if it takes one."""

    section = "stopping"
    given = ("observed", "sigma", "held_out", "seed", "clean", "lag")
    members = ("begin", "begin_stage", "update", "choice", "state", "restore")
    base = "dip_stages.dip.stopping.base.Rule"
    own = {"sigma": optional(partial(check_choice, allowed=("known", "estimate")))}  # noqa: RUF012 - of the class

    sigma: str | None = None

    def completed(self) -> Self:
        """Return the rule with the noise level known, if it takes one and nothing else is said."""
        return replace(self, sigma="known") if self.sigma is None and self.takes("sigma") else self

    def conflict(self, config: Config) -> Conflict | None:
        """Return why it cannot be computed: it asks for pixels that are not there, or says so."""
        if self.takes("held_out") and not config.trainer.held_out:
            return Conflict(f"trainer.held_out={config.trainer.held_out}", "more, as in trainer.held_out=0.1")
        return super().conflict(config)

    def takes(self, name: str) -> bool:
        """Return whether it names an argument that is not a setting, such as ``clean``."""
        return name in parameters_of(self.load())

    def call(self, **given: Any) -> Any:
        """Call it with what it names alone, so that nothing is given unseen."""
        return super().call(**{name: value for name, value in given.items() if self.takes(name)})


@dataclass(frozen=True)
class OwnNoise(OwnOption):
    """A function of the clean image ``(1, C, H, W)``, a variance and a generator that returns the observed image."""

    section = "noise"
    given = ("clean", "beta_max", "generator")
    needed = ("clean", "beta_max", "generator")
    own = {"beta_max": partial(check_range, above=0, below=1)}  # noqa: RUF012 - of the class

    beta_max: float = 0.01


@dataclass(frozen=True)
class OwnLogger(OwnOption):
    """A logger of Lightning."""

    section = "logger"
    given = ("save_dir", "name", "version")
    members = ("log_metrics", "save", "finalize")
    base = "pytorch_lightning.loggers.Logger"


@dataclass(frozen=True)
class OwnOptimizer(OwnOption):
    """An optimiser of torch."""

    section = "trainer.optimizer"
    given = ("params", "lr", "capturable")
    needed = ("params",)
    members = ("step", "zero_grad", "state_dict")
    base = "torch.optim.Optimizer"

    def check(self) -> None:
        """Check it as other options, and that its step needs no closure.

        Raises:
            ConfigError: If not.
        """
        super().check()
        step = getattr(self.load(), "step", None)
        if step and any(p.name == "closure" and p.default is p.empty for p in parameters_of(step).values()):
            problem = ", whose step needs a closure"
            raise ConfigError(problem, setting=self.key, got=self.target, allowed="an optimiser whose step needs none")


@dataclass(frozen=True)
class OwnScheduler(OwnOption):
    """A function of ``beta_max`` and ``stages`` that returns the stages' variances, ascending."""

    section = "scheduler"
    given = ("beta_max", "stages")
    needed = ("beta_max", "stages")
    own = {"stages": check_count}  # noqa: RUF012 - of the class

    stages: int = 10


@dataclass(frozen=True)
class OwnBudget(OwnOption):
    """A function of a stage's ``beta`` that returns its number of iterations."""

    section = "budget"
    given = ("beta",)
    needed = ("beta",)
    own = {"rescale": check_flag}  # noqa: RUF012 - of the class

    rescale: bool = True
