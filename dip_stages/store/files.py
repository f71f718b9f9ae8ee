"""Files written whole or not at all, and what is in their place set aside. Torch-free."""

from __future__ import annotations

import functools
import itertools
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dip_stages.console import before_exit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["make_folder", "replacing", "set_aside", "temporary_beside", "write_text"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; the file then replaces ``path``, unless there was an error.

    It is flushed to disk before that: even after a power cut there is the old file or the new one. A folder in the
    file's place is set aside.
    """
    with temporary_beside(path) as temporary:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        try:
            temporary.replace(path)
        except IsADirectoryError:
            set_aside(path)
            temporary.replace(path)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; what is there in the end is removed."""
    shortened = os.fsdecode(os.fsencode(path.name)[:200])  # of the 255 bytes that a name may have
    temporary = path.with_name(f".{shortened}.{os.getpid()}.{threading.get_ident()}")
    remove = functools.partial(temporary.unlink, missing_ok=True)
    before_exit.append(remove)
    try:
        yield temporary
    finally:
        remove()
        before_exit.remove(remove)


def write_text(path: Path, text: str) -> None:
    """Write text as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def make_folder(folder: Path) -> None:
    """Make a folder and those above it; a file in its place is set aside.

    Raises:
        OSError: If it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        if not folder.is_dir():  # another process may have made it meanwhile
            set_aside(folder)
            folder.mkdir(exist_ok=True)


def set_aside(path: Path) -> Path:
    """Rename what cannot be trusted to ``*.broken``, over an earlier file of that name, and return its new path."""
    broken = path.with_name(f"{path.name}.broken")
    try:
        return path.replace(broken)
    except OSError:  # one of both is a folder
        free = next(name for n in itertools.count(2) if not (name := broken.with_name(f"{broken.name}-{n}")).exists())
        return path.replace(free)
