"""The exception tree. Every error has fields for the setting, the value got and what is allowed.

:meth:`DipStagesError.__str__` alone makes the sentence of them, which is printable whatever names are in it.

.. code-block:: text

    DipStagesError
    ├── ConfigError        a setting, before any compute
    ├── ImageError         an image that cannot be read or used
    ├── WeightsError       network weights that cannot be had or are not the published ones
    ├── ModelError         a trained model that cannot be used, or is another than the one wanted
    ├── MachineError       a device that is asked for and that this machine lacks
    ├── RecordError        a record on disk that cannot be trusted
    │   └── OutdatedError  a record or plan of an older version of this package
    ├── CheckpointError    a checkpoint on disk that cannot be trusted
    ├── LeaseError         a cell that another process has, or has taken over
    ├── DriftError         a worker that is not what the plan was made with
    ├── LaunchError        a cluster that does not take jobs
    ├── CellError          a cell that failed, where its result is asked for
    ├── DivergenceError    a loss that rolling back did not cure
    └── Interrupted        a fit that was asked to stop, and left a checkpoint

All of them take the arguments of :class:`DipStagesError`, except :class:`DivergenceError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.names import printable

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable

__all__ = [
    "CellError",
    "CheckpointError",
    "ConfigError",
    "DipStagesError",
    "DivergenceError",
    "DriftError",
    "ImageError",
    "Interrupted",
    "LaunchError",
    "LeaseError",
    "MachineError",
    "ModelError",
    "OutdatedError",
    "RecordError",
    "WeightsError",
    "check_choice",
    "check_range",
]


class DipStagesError(Exception):
    """Base of every error that this package raises on purpose.

    Args:
        problem: What is wrong. After a value that was got, it continues the sentence: it begins with a space, a comma
            or the like.
        setting: The setting, file or folder that the error is about; kept as text.
        got: The value that was refused, as it was got; ``...`` if there is none to show.
        allowed: What is allowed, or what to type.

    Attributes:
        where: Where a sweep has the error, for people: what was typed, or a point of its grids; None outside of sweeps.

    Example:
        >>> print(DipStagesError(" with protocol=renoised", setting="loss.reference", got="clean", allowed="target"))
        loss.reference: got 'clean' with protocol=renoised; allowed: target
        >>> print(DipStagesError("no such file", setting="x.png"))
        x.png: no such file
    """

    where: str | None = None

    def __init__(
        self,
        problem: str = "",
        *,
        setting: str | os.PathLike[str] | None = None,
        got: object = ...,
        allowed: str | None = None,
    ) -> None:
        super().__init__(problem)  # pickle and copy pass this again and put the other fields back
        self.problem = problem
        self.setting = None if setting is None else str(setting)
        self.got = got
        self.allowed = allowed

    def __str__(self) -> str:
        got = "" if self.got is ... else f"got {_typed(self.got)}"
        sentence = ": ".join(part for part in (self.setting, got + self.problem) if part)
        allowed = "" if self.allowed is None else f"; allowed: {self.allowed}"
        where = "" if self.where is None else f"; {self.where}"
        return printable(f"{sentence}{allowed}{where}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"  # Hydra shows it of an error in a launcher's constructor


def _typed(value: object) -> str:
    """Return a value as it is typed."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and not value.isprintable():
        return f"'{printable(value)}'"
    return repr(value) if isinstance(value, str) else str(value)


class ConfigError(DipStagesError, ValueError):
    """A setting that is unknown, of the wrong type or out of range."""


class ImageError(DipStagesError, ValueError):
    """An image that is missing, broken, too small or too large."""


class WeightsError(DipStagesError):
    """Published weights that cannot be had, or whose checksum is wrong."""


class ModelError(DipStagesError):
    """A trained model that cannot be read, or was trained otherwise than it should have been."""


class MachineError(DipStagesError):
    """What the settings ask for and this machine lacks: on another machine, the same settings are right."""


class RecordError(DipStagesError):
    """A record that is truncated, of another schema, or not a record."""


class OutdatedError(RecordError):
    """A record or plan that an older version of this package wrote."""


class CheckpointError(DipStagesError):
    """A checkpoint that is truncated, of another schema, or of another cell."""


class LeaseError(DipStagesError):
    """A cell that another process has, or has taken over."""


class DriftError(DipStagesError):
    """A worker whose code or inputs are not those that the plan was made with."""


class LaunchError(DipStagesError):
    """A cluster does not take jobs as they are asked for, or a launcher's package is not installed."""


class CellError(DipStagesError):
    """A cell failed, or left no record, and its result is asked for."""


class Interrupted(DipStagesError):  # noqa: N818 - not a fault: the fit was asked to stop
    """A fit that was asked to stop, and left a checkpoint."""


class DivergenceError(DipStagesError):
    """A fit that became NaN, infinite or far worse, and that rolling back did not cure.

    Args:
        iteration: Iteration at which the last attempt failed.
        loss: Its loss.
        last_good: Iteration of the state that the module was put back to.
    """

    def __init__(self, iteration: int, loss: float, last_good: int) -> None:
        super().__init__(
            f"the fit diverged at iteration {iteration} (loss {loss:g}) and rolling back did not cure it; "
            f"kept: the last good state, iteration {last_good}. A smaller trainer.lr usually helps."
        )
        self.args = (iteration, loss, last_good)  # pickle and copy call the constructor with them
        self.iteration = iteration
        self.loss = loss
        self.last_good = last_good


def check_choice(key: str, value: object, allowed: Iterable[str]) -> None:
    """Raise :class:`ConfigError` unless ``value`` is one of ``allowed``.

    Example:
        >>> check_choice("loss.name", "l1", ("mse", "perceptual"))
        Traceback (most recent call last):
        ...
        dip_stages.errors.ConfigError: loss.name: got 'l1'; allowed: mse, perceptual
    """
    allowed = tuple(allowed)
    if value not in allowed:
        raise ConfigError(setting=key, got=value, allowed=", ".join(allowed))


def check_range(
    key: str,
    value: float,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> None:
    """Raise :class:`ConfigError` unless ``value`` is finite and within the bounds given.

    Example:
        >>> check_range("noise.beta_max", 1.5, above=0, below=1)
        Traceback (most recent call last):
        ...
        dip_stages.errors.ConfigError: noise.beta_max: got 1.5; allowed: a number > 0 and < 1
    """
    bounds = [(">=", at_least), (">", above), ("<=", at_most), ("<", below)]
    inside = (
        abs(value) != float("inf")
        and value == value
        and (at_least is None or value >= at_least)
        and (above is None or value > above)
        and (at_most is None or value <= at_most)
        and (below is None or value < below)
    )
    if not inside:
        allowed = " and ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)
        raise ConfigError(setting=key, got=value, allowed=f"a number {allowed or 'that is finite'}")
