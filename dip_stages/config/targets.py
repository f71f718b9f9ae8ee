"""What a ``_target_`` names: imported, its parameters, and what identifies its code. Torch-free by itself.

The current folder is appended to the path, as the last, only where a target is looked for.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dip_stages.errors import ConfigError
from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["code_of", "loaded", "look_in", "parameters_of", "takes"]


@functools.cache
def loaded(key: str, target: str) -> Any:
    """Import and return what a target names.

    Raises:
        ConfigError: If it cannot be imported, or cannot be called.
    """
    module, _, name = target.rpartition(".")
    look_in(_typed_in[0] if _typed_in else os.getcwd())  # noqa: PTH109 - as it is in the path
    try:
        found = _imported(module)
        for part in (*found[1], name):
            found = (getattr(found[0], part), ())
    except (Exception, SystemExit) as error:  # of the stranger's module, whose import runs its code
        missing = isinstance(error, (ModuleNotFoundError, AttributeError))
        reason = first_line(error) if missing else f"{type(error).__name__}: {first_line(error)}"
        allowed = f"what can be imported here, in {Path.cwd()} or an installed package"
        raise ConfigError(f", which cannot be imported: {reason}", setting=key, got=target, allowed=allowed) from error
    if not callable(found[0]):
        raise ConfigError(", which cannot be called", setting=key, got=target, allowed="a class or a function")
    return found[0]


def _imported(name: str) -> tuple[Any, tuple[str, ...]]:
    """Return the module that a dotted name begins with, and the rest, which are attributes such as a class."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        try:
            return importlib.import_module(module), tuple(parts[length:])
        except ModuleNotFoundError as error:
            if length == 1 or error.name != module:
                raise
    raise ModuleNotFoundError(name)


def look_in(folder: str) -> None:
    """Append the folder in which a command was typed to the path, as the last; a worker may run in another one."""
    _typed_in[:] = [folder]
    if folder not in sys.path:
        sys.path.append(folder)


_typed_in: list[str] = []


@functools.cache
def code_of(target: str) -> str:
    """Return what identifies the code of a target: a hash of its package, or of the Python files beside its module.

    An installed package is identified by its version.
    """
    package = target.partition(".")[0]
    look_in(_typed_in[0] if _typed_in else os.getcwd())  # noqa: PTH109 - as it is in the path
    spec = importlib.util.find_spec(package)
    if spec is None:
        return "missing"
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    home = places[0] if places else Path(spec.origin or ".").parent
    if any(home.is_relative_to(sysconfig.get_path(kind)) for kind in ("purelib", "platlib", "stdlib")):
        return _version_of(package, spec.origin)
    found = [(place, file) for place in places for file in place.rglob("*.py")]
    found = found or [(home, file) for file in home.glob("*.py")]
    names = sorted((str(file.relative_to(place)), file) for place, file in found)
    sha = hashlib.sha256()
    for name, file in names:
        if not any(part.startswith(".") for part in Path(name).parts):
            sha.update(name.encode(errors="surrogateescape") + b"\0" + file.read_bytes() + b"\0")
    return sha.hexdigest()[:16]


def _version_of(package: str, origin: str | None) -> str:
    for distribution in packages_distributions().get(package, ()):
        try:
            return f"{distribution} {version(distribution)}"
        except PackageNotFoundError:
            continue
    return hashlib.sha256(Path(origin).read_bytes() if origin else b"").hexdigest()[:16]


def parameters_of(target: Any) -> Mapping[str, inspect.Parameter]:
    """Return the parameters that something is called with; any, if it does not say."""
    try:
        if not inspect.isclass(target):
            return inspect.signature(target).parameters
        return _of_class(target)
    except (TypeError, ValueError):  # of C, without a signature
        return inspect.signature(lambda **_: None).parameters


def _of_class(target: type) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a class; what it passes on as keywords, by their names in the classes above."""
    found: dict[str, inspect.Parameter] = {}
    for cls in target.__mro__:
        if "__init__" not in vars(cls) or cls is object:
            continue
        own = dict(list(inspect.signature(cls.__init__).parameters.items())[1:])  # type: ignore[misc]  # of a class
        further = next((name for name, each in own.items() if each.kind is each.VAR_KEYWORD), None)
        found = {name: each for name, each in own.items() if each.kind is not each.VAR_POSITIONAL} | found
        if further is None:
            return {name: each for name, each in found.items() if each.kind is not each.VAR_KEYWORD}
    return found or inspect.signature(target).parameters


def takes(target: Any, name: str) -> bool:
    """Return whether something takes an argument of a name."""
    parameters = parameters_of(target)
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
