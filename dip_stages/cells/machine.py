"""Whether this machine has the devices that the settings ask for. Torch-free: a process of its own asks torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from dip_stages.errors import MachineError
from dip_stages.store.text import first_line

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["asks", "check_machine", "lacks_device"]

_ASK = """
import json, sys
from dip_stages.cells.hardware import devices
print(json.dumps(devices(sys.argv[1])))
"""


def asks(accelerator: str, gpus: Sequence[str] | None = None) -> bool:
    """Return whether settings name a device, which a machine may lack."""
    return accelerator in ("cuda", "mps") or (accelerator == "auto" and bool(gpus))


def check_machine(accelerator: str, gpus: Sequence[str] | None = None) -> None:
    """Check that this machine has the device that settings name; where none is named, nothing is asked.

    The answer takes as long as the import of torch, some seconds.

    Args:
        accelerator: ``runtime.accelerator``.
        gpus: The GPUs that workers are given, as in ``CUDA_VISIBLE_DEVICES``; None for what the environment says.

    Raises:
        MachineError: If it lacks the device, or torch cannot be imported.
    """
    if not asks(accelerator, gpus):
        return
    wanted = list(dict.fromkeys(gpus or ())) if accelerator != "mps" else []
    found, why = _devices("mps" if accelerator == "mps" else "cuda", wanted)
    if wanted and found < len(wanted):  # CUDA numbers them in this order, and stops at the first that is not there
        raise MachineError(
            f", which this machine lacks ({why or f'CUDA finds {found} of {len(wanted)}'})",
            setting="hydra.launcher.gpus",
            got=wanted[found],
            allowed="GPUs that nvidia-smi lists; null for all of them",
        )
    if not found:
        raise lacks_device(accelerator, why)


def lacks_device(name: str, why: str) -> MachineError:
    """Return the error of a device that this machine lacks."""
    return MachineError(
        f", which this machine lacks ({why or 'torch finds none'})",
        setting="runtime.accelerator",
        got=name,
        allowed="auto, cpu",
    )


def _devices(name: str, gpus: Sequence[str]) -> tuple[int, str]:
    chosen = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}
    asked = subprocess.run(  # noqa: S603 - this Python
        [sys.executable, "-c", _ASK, name],
        env={**os.environ, **chosen},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        why = first_line(asked.stderr.strip().rpartition("\n")[2])
        raise MachineError(f"torch cannot be imported: {why}", setting=sys.executable)
    found, why = json.loads(asked.stdout.splitlines()[-1])
    return int(found), str(why)
