"""What a refusal says, by the fields of the error: the sentences themselves are in ``tests/unit/slips``."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pytest

from dip_stages.errors import DipStagesError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

E = TypeVar("E", bound=DipStagesError)


@contextmanager
def refused(
    kind: type[E],
    setting: str | Path | None = None,
    *,
    got: object = ...,
    allowed: str | None = None,
    names: tuple[str, ...] = (),
    problem: str = "",
) -> Iterator[pytest.ExceptionInfo[E]]:
    """Expect an error of exactly that kind and those fields.

    Args:
        kind: Its type.
        setting: What it is about; None if it is about none.
        got: The value; left out if it shows none.
        allowed: What is allowed, the whole of it; None leaves that open.
        names: What the text of what is allowed names, among other things.
        problem: Part of what is wrong, where nothing else distinguishes two errors of one kind.
    """
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    assert type(error) is kind
    assert error.setting == (None if setting is None else str(setting))
    assert error.got == got or repr(error.got) == repr(got), error  # nan is not itself
    assert allowed is None or error.allowed == allowed, error
    assert all(name in str(error.allowed) for name in names), error
    assert problem in error.problem, error
