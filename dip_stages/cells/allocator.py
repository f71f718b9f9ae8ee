"""Memory that a process keeps for its next iteration. Torch-free."""

from __future__ import annotations

import ctypes
import os
import sys

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of glibc's mallopt(3)."""
_MOST = 2**31 - 1
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES")


def keep_freed_memory() -> None:
    """Let this process keep freed memory for its next allocations, up to 2 GiB each.

    PyTorch allocates and frees each activation anew at each iteration. Left alone, glibc gives those above 32 MiB back
    to the system, and the smaller ones too as soon as they lie at the end of the heap; the system then hands the memory
    out again page by page, each filled with zeros. In return the heap stays as large as it ever was. It also becomes
    one for all threads: the others' hold 64 MiB.

    To be called before there are other threads. It does nothing where there is no glibc, or where its own environment
    variables are set, be it to nothing, as with ``GLIBC_TUNABLES=``.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _VARIABLES):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
    for parameter, value in {_TRIM_THRESHOLD: _MOST, _MMAP_THRESHOLD: _MOST, _ARENA_MAX: 1}.items():
        mallopt(parameter, value)
