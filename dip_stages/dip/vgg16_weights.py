"""Published network weights: found or downloaded, and checked. Torch-free, so that a sweep can check them early."""

from __future__ import annotations

import http.client
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from dip_stages.errors import WeightsError
from dip_stages.store.files import replacing
from dip_stages.store.hashing import file_sha256
from dip_stages.store.text import os_reason

__all__ = ["VGG16_SHA256", "VGG16_URL", "published_vgg16"]

VGG16_URL = "https://download.pytorch.org/models/vgg16-397923af.pth"
"""torchvision's published file, the only one accepted."""

VGG16_SHA256 = "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"

_WHAT = "the pretrained VGG16 weights"


def published_vgg16(path: str | None = None, *, url: str = VGG16_URL, sha256: str = VGG16_SHA256) -> Path:
    """Return the file of torchvision's VGG16 weights, its checksum checked.

    Args:
        path: The file on this machine; ``None`` for the one in PyTorch's hub cache, downloaded if it is not there.
        url: Where it is published.
        sha256: The hash that the file must have.

    Raises:
        WeightsError: If the file cannot be read or downloaded, or is not the published one.
    """
    # Not Path.expanduser, which raises if there is no such user; a missing file is reported below.
    file = Path(os.path.expanduser(path)) if path else _cache() / Path(url).name  # noqa: PTH111
    try:
        if not path and not file.is_file():
            _download(url, file, sha256)
        got = file_sha256(file)
    except urllib.error.URLError as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise _refused(url, f"{_WHAT} cannot be downloaded: {error.reason}", url) from error
    except http.client.HTTPException as error:
        raise _refused(url, f"{_WHAT} cannot be downloaded: {error!r}", url) from error
    except OSError as error:
        raise _refused(file, f"{_WHAT} cannot be read: {os_reason(error)}", url) from error
    if got != sha256:
        raise _refused(file, f" as sha256 of {_WHAT}, wanted {sha256!r}", url, got=got)
    return file


def _cache() -> Path:
    """Return the folder that torch.hub uses too."""
    home = os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "torch"
    return Path(home).expanduser() / "hub" / "checkpoints"


def _download(url: str, file: Path, sha256: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with (
        urllib.request.urlopen(url, timeout=60) as answer,  # noqa: S310 - a constant https address, or a test's file
        replacing(file) as temporary,
    ):
        with temporary.open("wb") as out:
            shutil.copyfileobj(answer, out)
        if (got := file_sha256(temporary)) != sha256:
            raise _refused(url, f" as sha256 of {_WHAT}, wanted {sha256!r}", url, got=got)


def _refused(place: Path | str, problem: str, url: str, got: object = ...) -> WeightsError:
    return WeightsError(
        problem,
        setting=place,
        got=got,
        allowed=f"either of two ways out: fetch {url} where there is a network and pass "
        "loss.path=/where/it/is/vgg16-397923af.pth, or use random weights, which need no download: loss=perceptual",
    )
