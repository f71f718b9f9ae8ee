"""A column of images of a data set, and what may be wrong with it. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dip_stages.errors import ConfigError, ImageError
from dip_stages.store.text import first_line

__all__ = ["Column"]

_NETWORK = ("aiohttp", "fsspec", "httpx", "huggingface_hub", "requests", "urllib3")


@dataclass(frozen=True)
class Column:
    """A column of images.

    Attributes:
        dataset: A name on the hub, or a folder: a copy, or what ``save_to_disk`` wrote.
        split: Such as ``train``; unless streaming also a slice, such as ``train[10:20]``.
        name: Of the column.
        config: The configuration; None for the only one, or the default.
        streaming: Whether to fetch only the images needed; if not, ``datasets`` keeps the whole data set in its own
            cache, ``HF_HOME``.
        section: Section of the settings that messages name.
    """

    dataset: str
    split: str
    name: str
    config: str | None = None
    streaming: bool = True
    section: str = "data"

    @property
    def folder(self) -> Path | None:
        """The data set's folder; None if it is on the hub."""
        local = Path(self.dataset).expanduser()
        return local if local.is_dir() else None

    @property
    def another(self) -> str:
        """What to type for other rows."""
        return "another data.index" if self.section == "data" else f"fewer {self.section}.rows"

    def refusal(self, setting: str, problem: str = "", *, got: object = ..., allowed: str) -> ConfigError:
        """Return an error about a setting of this section."""
        return ConfigError(problem, setting=f"{self.section}.{setting}", got=got, allowed=allowed)

    def bad_row(self, problem: str, allowed: str) -> ImageError:
        """Return an error about a row, whose number ``problem`` names."""
        return ImageError(problem, setting=f"{self.section}.dataset", got=self.dataset, allowed=allowed)

    def unavailable(self, error: Exception) -> ImageError:
        """Return the error of a data set that cannot be had, with the way out that fits its reason."""
        key = self.section
        of_network = isinstance(error, OSError) or type(error).__module__.partition(".")[0] in _NETWORK
        others = "data=folder data.path=FOLDER" if key == "data" else f"{key}.source=folder {key}.path=FOLDER"
        if self.folder:
            ways = "a folder of images, of Parquet, of archives or the like, or one that save_to_disk wrote"
        elif of_network and not isinstance(error, FileNotFoundError):
            ways = (
                "a machine that reaches the hub, once, since what it has fetched is kept; HF_HOME, a cache that has "
                f"the data set, with {key}.streaming=false; {key}.dataset=FOLDER, a copy of it"
            )
        else:
            ways = (
                "a data set of the hub that `datasets` reads, and that is public or that `hf auth login` gives access "
                f"to; {key}.dataset=FOLDER, a copy of it"
            )
        config = "" if self.config is None else f" {key}.config={self.config}"
        reason = first_line(error, default="for no given reason")
        return ImageError(
            f" with {key}.split={self.split}{config}, which cannot be had: {type(error).__name__}: {reason}",
            setting=f"{key}.dataset",
            got=self.dataset,
            allowed=f"{ways}; {others}, others",
        )
