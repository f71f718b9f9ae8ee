"""Threads that are left as they were."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["threads_kept"]


@contextmanager
def threads_kept() -> Iterator[None]:
    """Give back the number of CPU threads that torch had."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
