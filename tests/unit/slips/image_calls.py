"""Calls that refuse images, data sets or trained weights; and the sentence of each."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import tifffile

from dip_stages.denoisers.model_store import MODEL, check_model
from dip_stages.dip.vgg16_weights import published_vgg16
from dip_stages.images.column import Column
from dip_stages.images.hub import fetch
from dip_stages.images.reading import fit_to, read_image
from tests.unit.slips.calling import written

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.unit.slips.calling import Call


def odd_tiff(path: Path) -> Path:
    tifffile.imwrite(path, np.zeros((20, 20), np.int16))
    return path


def header_alone(path: Path, side: int) -> Path:
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"")))
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return written(path, b"\x89PNG\r\n\x1a\n" + b"".join(packed))


def downloaded(patch: pytest.MonkeyPatch, folder: Path, url: str) -> Path:
    patch.setenv("TORCH_HOME", str(folder / "torch"))
    return published_vgg16(url=url)


def a_dataset(section: str = "data", name: str = "image", *, split: str = "train", error: bool = False) -> Call:
    """Return the call that asks a data set of one row for three; or a hub that does not answer."""

    def call(_: Path, patch: pytest.MonkeyPatch) -> object:
        import datasets

        def load_dataset(*_: object, **__: object) -> object:
            if error:
                raise ConnectionError("the hub does not answer\nand more of it")
            row = {"image": {"bytes": b"GIF89a", "path": None}, "name": "a", "none": None}
            features = {"image": datasets.Image(), "name": datasets.Value("string"), "none": datasets.Image()}
            table = datasets.Dataset.from_list([row], features=datasets.Features(features))
            return {"train": table.to_iterable_dataset()}

        patch.setattr(datasets, "load_dataset", load_dataset)
        return fetch(Column("user/set", split, name, section=section), [0, 1, 2])

    return call


def a_model(folder: Path, width: int) -> Path:
    written(folder / MODEL, json.dumps({"settings": {"width": width}}))
    return folder


# What is typed, or is on disk; the call that refuses it; the sentence.
CALLS: list[tuple[str, Call, str]] = [
    (
        "data=butterflies",
        a_dataset(error=True),
        (
            "data.dataset: got 'user/set' with data.split=train, which cannot be had: ConnectionError: the hub does "
            "not answer; allowed: a machine that reaches the hub, once, since what it has fetched is kept; HF_HOME, a"
            " cache that has the data set, with data.streaming=false; data.dataset=FOLDER, a copy of it; data=folder "
            "data.path=FOLDER, others"
        ),
    ),
    (
        "method.training.source=hub",
        a_dataset("method.training", error=True),
        (
            "method.training.dataset: got 'user/set' with method.training.split=train, which cannot be had: "
            "ConnectionError: the hub does not answer; allowed: a machine that reaches the hub, once, since what it "
            "has fetched is kept; HF_HOME, a cache that has the data set, with method.training.streaming=false; "
            "method.training.dataset=FOLDER, a copy of it; method.training.source=folder "
            "method.training.path=FOLDER, others"
        ),
    ),
    (
        "data.column=photo",
        a_dataset(name="photo"),
        "data.column: got 'photo'; allowed: a column of images, of which user/set has image, none",
    ),
    (
        "data.column=name",
        a_dataset(name="name"),
        "data.column: got 'name', which holds texts; allowed: a column of images, of which user/set has image, none",
    ),
    (
        "data.column=none",
        a_dataset(name="none"),
        "data.dataset: got 'user/set', whose row 0 has no image in the column none; allowed: another data.index",
    ),
    (
        "data.split=train[1:2]",
        a_dataset(split="train[1:2]"),
        (
            "data.split: got 'train[1:2]' with data.streaming=true; allowed: data.streaming=false, which takes slices; "
            "or one of train"
        ),
    ),
    (
        "data.split=test",
        a_dataset(split="test"),
        "data.split: got 'test'; allowed: a split of user/set: train",
    ),
    (
        "data.index=2",
        a_dataset(),
        "data.index: got 2; allowed: a row of user/set, split train, which has fewer",
    ),
    (
        "method.training.rows=2",
        a_dataset("method.training"),
        "method.training.rows: got 2; allowed: a row of user/set, split train, which has fewer",
    ),
    (
        "data.size=17",
        lambda *_: fit_to(np.zeros((40, 60, 3), np.float32), 17, "inside"),
        "data.size: got 17, which makes the image 17×11; allowed: at least 16 a side",
    ),
    (
        "data.fit=stretch",
        lambda *_: fit_to(np.zeros((40, 60, 3), np.float32), 17, "stretch"),
        "data.fit: got 'stretch'; allowed: cover, crop, inside",
    ),
    (
        "an image that is not there",
        lambda folder, _: read_image(folder / "gone.png"),
        "FOLDER/gone.png: no such file; allowed: an image file",
    ),
    (
        "an odd TIFF",
        lambda folder, _: read_image(odd_tiff(folder / "a.tif")),
        (
            "FOLDER/a.tif: a TIFF of signed integers of 16 bits is not read; "
            "allowed: 8 or 16 unsigned bits or floats, such as tifffile.imread(…).astype('float32')"
        ),
    ),
    (
        "a large image",
        lambda folder, _: read_image(header_alone(folder / "a.png", 9_000)),
        "FOLDER/a.png: got 9000×9000 pixels; allowed: at most 67,108,864 in all",
    ),
    (
        "an image that Pillow refuses",
        lambda folder, _: read_image(header_alone(folder / "a.png", 20_000)),
        (
            "FOLDER/a.png: Image size (400000000 pixels) exceeds limit of 178956970 pixels, could be decompression "
            "bomb DOS attack.; allowed: at most 67,108,864 pixels"
        ),
    ),
    (
        "method.model=of another width",
        lambda folder, _: check_model(a_model(folder, width=8), {"width": 24}),
        (
            "FOLDER: a model of another setting: width: got 8, wanted 24; allowed: one trained as method.training "
            "says, or method.model=null"
        ),
    ),
    (
        "method.model=without its weights",
        lambda folder, _: check_model(a_model(folder, width=24), {"width": 24}),
        "FOLDER: model.pt is not there; allowed: the whole folder of a training",
    ),
    (
        "loss=perceptual_pretrained",
        lambda folder, patch: downloaded(patch, folder, "http://127.0.0.1:9/vgg.pth"),
        (
            "http://127.0.0.1:9/vgg.pth: the pretrained VGG16 weights cannot be downloaded: [Errno 111] Connection "
            "refused; allowed: either of two ways out: fetch http://127.0.0.1:9/vgg.pth where there is a network and "
            "pass loss.path=/where/it/is/vgg16-397923af.pth, or use random weights, which need no download: "
            "loss=perceptual"
        ),
    ),
    (
        "another file than the published one",
        lambda folder, patch: downloaded(patch, folder, written(folder / "x.pth", "x").as_uri()),
        (
            "file://FOLDER/x.pth: got '2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881' as sha256 of"
            " the pretrained VGG16 weights, wanted "
            "'397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0'; allowed: either of two ways out: "
            "fetch file://FOLDER/x.pth where there is a network and pass loss.path=/where/it/is/vgg16-397923af.pth, "
            "or use random weights, which need no download: loss=perceptual"
        ),
    ),
]
