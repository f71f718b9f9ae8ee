"""What a work folder keeps of a tile: its result, and before that the checkpoint of its fits.

Both have a checksum and are written whole or not at all. Torch-free until one of them is read or written.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dip_stages.errors import CheckpointError
from dip_stages.names import printable
from dip_stages.store.text import os_reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["PREFIX", "KeptTile"]

PREFIX = "tile-"
"""Of the names of all files here."""


@dataclass(frozen=True)
class KeptTile:
    """What is kept of a tile.

    Attributes:
        folder: The work folder.
        number: The tile's, from 1.
        note: Called with a sentence on what was lost.
        check: Called before anything is written; raises LeaseError if another process has taken the job over.
    """

    folder: Path
    number: int
    note: Callable[[str], None]
    check: Callable[[], None]

    @property
    def done(self) -> bool:
        """Whether its result is there, if perhaps damaged."""
        return self._result.exists()

    def result(self) -> NDArray[np.float32] | None:
        """Return its result, ``(H, W, C)``; None if it is not done, or its file is damaged."""
        state = self._read(self._result)
        if state is None:
            return None
        image: NDArray[np.float32] = state["image"].numpy()
        return image

    def keep(self, image: NDArray[np.float32]) -> None:
        """Keep its result, ``(H, W, C)``, in place of its fits."""
        import torch

        if self._write(self._result, {"image": torch.from_numpy(image)}):
            _remove(self._fits)

    def fits(self) -> dict[str, Any] | None:
        """Return the state of its fits, as :meth:`save` was given it; None if there is none that can be trusted."""
        return self._read(self._fits)

    def save(self, fits: dict[str, Any]) -> None:
        """Keep the state of its fits: tensors, numbers, and containers of them; among them ``iteration``, of all."""
        self._write(self._fits, fits)

    @property
    def _result(self) -> Path:
        return self.folder / f"{PREFIX}{self.number}.pt"

    @property
    def _fits(self) -> Path:
        return self.folder / f"{PREFIX}{self.number}.fits.pt"

    def _read(self, path: Path) -> dict[str, Any] | None:
        from dip_stages.store.checkpoints import read_state

        try:
            return read_state(path)
        except FileNotFoundError:
            return None
        except CheckpointError as error:
            self.note(f"{error}; computed again")
            _remove(path)
            return None

    def _write(self, path: Path, state: dict[str, Any]) -> bool:
        """Write a state and return whether that was possible; if not, only what is kept is lost."""
        from dip_stages.store.checkpoints import write_state

        self.check()
        try:
            write_state(path, state)
        except OSError as error:
            self.note(f"{printable(self.folder)}: what is done cannot be kept: {os_reason(error)}")
            return False
        return True


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink(missing_ok=True)
