"""Puts faults into processes whose PYTHONPATH has this folder; the package has no code for them.

``DIP_FAULT`` is ``<kind>:<seed>:<iteration>``: from that iteration on, cells of that seed become ``nan``, leave the
process with ``exit``, or are killed with ``kill``. ``DIP_EXPIRY`` is the time in seconds until a lease is dead.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import os
import signal
import sys
from typing import Any


class _Patch(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        del path, target
        if name != "dip_stages.dip.module":
            return None
        sys.meta_path.remove(self)
        spec: Any = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            _patch(module.DIPModule)

        spec.loader.exec_module = exec_module
        return spec


def _patch(kind: Any) -> None:
    fault, seed, iteration = os.environ["DIP_FAULT"].split(":")
    iterate = kind._iterate

    def faulty(self: Any, number: int) -> None:
        iterate(self, number)
        if self.seed == int(seed) and self.iteration >= int(iteration):
            if fault == "exit":
                sys.exit(3)
            if fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            self.loss_value = self.loss_value * float("nan")

    kind._iterate = faulty


if os.environ.get("DIP_FAULT"):
    sys.meta_path.insert(0, _Patch())

if os.environ.get("DIP_EXPIRY"):
    from dip_stages.store import leases

    leases.EXPIRY = float(os.environ["DIP_EXPIRY"])
    leases.HEARTBEAT = leases.EXPIRY / 12
