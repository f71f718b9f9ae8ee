"""The files beside a record, as a report shows them: those alone whose checksum is in the record and was compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dip_stages.errors import RecordError
from dip_stages.names import printable
from dip_stages.store.hashing import content_sha256
from dip_stages.store.records import Record, read_record

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CellFiles", "folder_of"]


def folder_of(root: Path, name: object) -> Path:
    """Return the folder of a cell in a sweep's, by its name as frames have it, which is printable."""
    folder = root / str(name)
    return (
        folder if folder.exists() else next((path for path in root.iterdir() if printable(path.name) == name), folder)
    )


class CellFiles:
    """The files of a cell.

    Args:
        folder: The cell's.

    Attributes:
        record: The cell's; None where there is none, or none that can be trusted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.record: Record | None = None
        try:
            self.record = read_record(folder)
        except (FileNotFoundError, RecordError):
            return

    def get(self, name: str) -> bytes | None:
        """Return the content of a file; None if it is missing, altered, or not in the record."""
        try:
            content = (self._folder / name).read_bytes()
        except OSError:
            return None
        listed = self.record.files.get(name) if self.record else None
        return content if listed == content_sha256(content) else None
