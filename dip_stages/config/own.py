"""Options that are written outside of this package: ``_target_`` names what to call, as in Hydra. Torch-free by itself.

What is named is imported only where it is asked for: at planning, to check it, and where a cell is computed.
"""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dip_stages.config.fields import Conflict
from dip_stages.config.targets import code_of, loaded, parameters_of, takes
from dip_stages.errors import ConfigError
from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from dip_stages.config.config import Config

    Check = Callable[[str, Any], None]

__all__ = [
    "TARGET",
    "OwnOption",
    "check_count",
    "check_flag",
    "name_options",
    "optional",
    "own_option",
    "own_options",
]

TARGET = "_target_"


def optional(check: Check) -> Check:
    """Return a check that a value of None passes."""
    return lambda key, value: None if value is None else check(key, value)


def check_count(key: str, value: Any) -> None:
    """Check that a value is a whole number from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(setting=key, got=value, allowed="a whole number >= 1")


def check_flag(key: str, value: Any) -> None:
    """Check that a value is true or false."""
    if not isinstance(value, bool):
        raise ConfigError(setting=key, got=value, allowed="true or false")


@dataclass(frozen=True)
class OwnOption:
    """An option of a group that names what to call.

    Attributes:
        name: Under which it is compared and reported: that of its file, or of what it names.
        target: What to call: ``package.module.name``.
        text: Its settings, as JSON.
    """

    section: ClassVar[str]
    given: ClassVar[tuple[str, ...]] = ()
    """Arguments that it is called with besides its settings; those that it does not take are left out."""
    needed: ClassVar[tuple[str, ...]] = ()
    """Those of them that it must take."""
    members: ClassVar[tuple[str, ...]] = ()
    """What a class must have that it names."""
    base: ClassVar[str] = ""
    """The class that such a class may be derived from, for people."""
    own: ClassVar[Mapping[str, Check]] = {}
    """Settings that are this package's and are not passed on, and their checks."""

    name: str
    target: str
    text: str = "{}"

    @property
    def settings(self) -> dict[str, Any]:
        """What it is called with, by name."""
        settings: dict[str, Any] = json.loads(self.text)
        return settings

    @property
    def values(self) -> dict[str, Any]:
        """The section as it is written in YAML."""
        return {"name": self.name, TARGET: self.target, **self._own, **self.settings}

    @property
    def counted(self) -> dict[str, Any]:
        """What identifies it: target, settings and code."""
        packages = {target.partition(".")[0]: target for target in self.targets}
        code = " ".join(code_of(target) for target in packages.values())
        return {TARGET: self.target, **self._own, **self.settings, "code": code}

    @property
    def targets(self) -> tuple[str, ...]:
        """What it names, and what its settings name."""
        return (self.target, *map(str, _targets_in(json.loads(self.text))))

    @property
    def _own(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.own}

    @property
    def key(self) -> str:
        """The setting of the target."""
        return f"{self.section}.{TARGET}"

    def load(self) -> Any:
        """Return what it names.

        Raises:
            ConfigError: If it cannot be imported, or cannot be called.
        """
        return loaded(self.key, self.target)

    def completed(self) -> Self:
        """Return the option with the settings of this package that follow from what it names."""
        return self

    def conflict(self, config: Config) -> Conflict | None:
        """Return what the option says of a configuration: ``refuses(config)`` returns a sentence, or None."""
        refuses = getattr(self.load(), "refuses", None)
        try:
            sentence = refuses(config) if callable(refuses) else None
        except Exception as error:  # of the stranger's code
            problem = f", whose `refuses` raised {type(error).__name__}: {first_line(error)}"
            raise ConfigError(problem, setting=self.key, got=self.target, allowed="a sentence, or None") from error
        return None if sentence is None else Conflict(f"these settings: {sentence}", "others, or another option")

    def call(self, **given: Any) -> Any:
        """Call what it names with its settings, and with what it takes of the arguments given."""
        target = self.load()
        taken = {name: value for name, value in given.items() if takes(target, name)}
        return target(**taken, **{name: self._made(value) for name, value in self.settings.items()})

    def _made(self, value: Any) -> Any:
        """Return a setting's value; a mapping with a ``_target_`` is called, as Hydra does."""
        if isinstance(value, list):
            return [self._made(item) for item in value]
        if not isinstance(value, dict):
            return value
        made = {name: self._made(item) for name, item in value.items() if name != TARGET}
        return loaded(self.key, value[TARGET])(**made) if TARGET in value else made

    def call_now(self, **given: Any) -> Any:
        """Call it while a sweep is planned, where what it raises is an error of the configuration.

        Raises:
            ConfigError: If it raises anything.
        """
        self.check()
        try:
            return self.call(**given)
        except Exception as error:
            problem = f", which raised {type(error).__name__}: {first_line(error)}"
            arguments = ", ".join(f"{name}={value}" for name, value in {**given, **self.settings}.items())
            raise ConfigError(
                problem, setting=self.key, got=self.target, allowed=f"one that takes {arguments}"
            ) from error

    def check(self) -> None:
        """Import what it names, and check that it takes the settings and is of the group's kind.

        Raises:
            ConfigError: If not.
        """
        target = self.load()
        for nested in self.targets[1:]:
            loaded(self.key, nested)
        if inspect.isclass(target) and (missing := [name for name in self.members if not hasattr(target, name)]):
            problem = f", which has no {' and no '.join(missing)}"
            raise ConfigError(problem, setting=self.key, got=self.target, allowed=f"a {self.base}, or a function")
        if not_taken := [name for name in self.needed if not takes(target, name)]:
            problem = f", which does not take {', '.join(not_taken)}"
            raise ConfigError(problem, setting=self.key, got=self.target, allowed=f"one that takes {self._arguments}")
        self._check_settings(target)

    @property
    def _arguments(self) -> str:
        return ", ".join((*self.needed, "settings"))

    def _check_settings(self, target: Any) -> None:
        parameters = parameters_of(target)
        names = [name for name in parameters if name not in self.given]
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return
        for name in self.settings:
            if name not in names:
                raise ConfigError(
                    "no such setting", setting=f"{self.section}.{name}", allowed=", ".join(names) or "none"
                )
        for name in names:
            parameter = parameters[name]
            by_name = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if by_name and parameter.default is parameter.empty and name not in self.settings:
                raise ConfigError(
                    f"{self.target} needs it", setting=f"{self.section}.{name}", allowed=f"+{self.section}.{name}=…"
                )


_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def _targets_in(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from [value[TARGET]] if TARGET in value else []
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _targets_in(item)


def own_option(schema: type[OwnOption], values: Mapping[str, Any], section: str) -> OwnOption:
    """Return an option from its section of a configuration.

    Args:
        schema: Of its group.
        values: The section, with ``_target_`` in it.
        section: Its name, for messages.

    Raises:
        ConfigError: If target, name or a setting of this package is of the wrong type.
    """
    target = values[TARGET]
    wrong = [each for each in _targets_in(dict(values)) if not isinstance(each, str) or not _DOTTED.fullmatch(each)]
    if wrong:
        target = wrong[0]
        allowed = f"what to call, as in {section}.{TARGET}=my_lab.networks.MyNet"
        raise ConfigError(setting=f"{section}.{TARGET}", got=target, allowed=allowed)
    own = {name: values[name] for name in schema.own if name in values}
    for name, value in own.items():
        schema.own[name](f"{section}.{name}", value)
    passed = {name: value for name, value in values.items() if name not in ("name", TARGET, *schema.own)}
    name = values.get("name") or target.rpartition(".")[2]
    return schema(name=str(name), target=target, text=json.dumps(passed), **own).completed()


def name_options(sections: Mapping[str, Any], choices: Mapping[str, Any]) -> None:
    """Name options that are written outside of this package, and have no name, after the option that was chosen."""
    for section, option in choices.items():
        values = sections.get(section)
        if isinstance(values, dict) and TARGET in values and option not in (None, "custom"):
            values.setdefault("name", option)


def own_options(config: Any) -> Iterator[OwnOption]:
    """Yield the options of a configuration that are written outside of this package."""
    for section in vars(config).values():
        for part in (section, getattr(section, "optimizer", None)):
            if isinstance(part, OwnOption):
                yield part
        yield from (rule for rule in getattr(section, "rules", {}).values() if isinstance(rule, OwnOption))
