"""Makes a process keep freed memory for its next iteration. Torch-free."""

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

    PyTorch allocates and frees each activation at each iteration. By default, glibc returns those above 32 MiB to the
    system, and smaller ones too if they are at the end of the heap; each page of them is then filled with zeros when it
    is allocated again. With these settings the heap keeps its largest size, and all threads share one heap: those of
    further threads are limited to 64 MiB.

    Call it before there are other threads. It does nothing without glibc, or where one of glibc's own environment
    variables is set, even to nothing, as with ``GLIBC_TUNABLES=``.
    """
    if sys.platform != "linux" or any(name in os.environ for name in _VARIABLES):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)
    for parameter, value in {_TRIM_THRESHOLD: _MOST, _MMAP_THRESHOLD: _MOST, _ARENA_MAX: 1}.items():
        mallopt(parameter, value)
