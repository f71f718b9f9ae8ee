from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from dip_stages.errors import ConfigError, ImageError
from dip_stages.images.column import Column
from dip_stages.images.hub import _encoded, fetch
from dip_stages.images.opening import FORMAT_NAMES
from dip_stages.images.reading import read_image
from tests.hub import ROWS, a_hub, encoded, write_sets
from tests.raising import refused

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.usefixtures("cache"),
    # `datasets` leaves a CSV file open that is not read to its end.
    pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning"),
]

ADDRESSES = "user/addresses"
FETCHED: list[tuple[dict[str, Any], int, int]] = [
    ({"dataset": "user/plain", "name": "image"}, 1, 1),
    ({"dataset": "user/plain", "name": "image", "streaming": False}, 1, 1),
    ({"dataset": "user/plain", "name": "image", "streaming": False, "split": "train[2:]"}, 1, 3),
    ({"dataset": "user/plain", "name": "image", "streaming": False, "split": "train[:50%]"}, 1, 1),
    ({"dataset": "user/zipped", "name": "image"}, 3, 3),
    ({"dataset": "user/zipped", "name": "image", "streaming": False}, 3, 3),
    ({"dataset": "user/tarred", "name": "png"}, 2, 2),
    ({"dataset": "user/configs", "name": "image", "config": "one"}, 1, 1),
    ({"dataset": "user/configs", "name": "image", "config": "two"}, 1, 2),
    ({"dataset": ADDRESSES, "name": "path"}, 0, 0),
    ({"dataset": ADDRESSES, "name": "url"}, 0, 1),
    ({"dataset": "user/odd", "name": "a/b"}, 3, 3),
    ({"dataset": "user/odd", "name": "raw"}, 3, 1),
]
"""Columns on the hub; the row; the image that is in it."""

GONE = ("another data.index", "a machine that reaches it")
REFUSED: list[tuple[dict[str, Any], int, str, str, str]] = [
    ({"dataset": "user/configs", "name": "image"}, 0, "data.config", "must be given", "user/configs: one, two"),
    ({"dataset": "user/configs", "name": "image", "config": "x"}, 0, "data.config", "", "user/configs: one, two"),
    ({"dataset": "user/plain", "name": "image", "split": "test"}, 0, "data.split", "", "a split of user/plain: train"),
    ({"dataset": "user/plain", "name": "image"}, ROWS, "data.index", "", "split train, which has fewer"),
    ({"dataset": ADDRESSES, "name": "path"}, 1, "data.dataset", "row 1 names in the column path what", GONE[0]),
    ({"dataset": ADDRESSES, "name": "url"}, 1, "data.dataset", "gone.png: FileNotFoundError", GONE[1]),
    ({"dataset": "user/gone", "name": "image"}, 0, "data.dataset", "doesn't exist on the Hub", "hf auth login"),
]
"""Columns on the hub; the row; the setting that is refused, what is wrong, what is allowed."""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What is fetched from the hub, or the error, in a process of its own: `datasets` reads the endpoint early."""
    code = (
        "import json, sys\n"
        "from dip_stages.errors import DipStagesError\n"
        "from dip_stages.images.column import Column\n"
        "from dip_stages.images.hub import fetch\n"
        "for column, row in json.loads(sys.stdin.read()):\n"
        "    try:\n"
        "        answer = fetch(Column(**{'split': 'train'} | column), [row])[0].hex()\n"
        "    except DipStagesError as error:\n"
        "        answer = {'setting': error.setting, 'problem': error.problem, 'allowed': error.allowed}\n"
        "    print('answer', json.dumps(answer))\n"
    )
    root, sets = tmp_path_factory.mktemp("hub"), dict[str, "Path"]()
    with a_hub(sets) as (endpoint, _):
        sets.update(write_sets(root, endpoint))
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps([(column, row) for column, row, *_ in (*FETCHED, *REFUSED)]),
            env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(root / "huggingface")},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    return [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("answer ")]


@pytest.mark.parametrize(("number", "image"), [*enumerate(image for *_, image in FETCHED)])
def test_every_form_of_the_hub_comes_byte_for_byte(answers: list[Any], number: int, image: int) -> None:
    assert answers[number] == encoded(image).hex(), FETCHED[number]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_the_hub_has_not_is_named_with_a_way_out(answers: list[Any], number: int) -> None:
    _, _, setting, problem, allowed = REFUSED[number]
    answer = answers[len(FETCHED) + number]
    assert answer["setting"] == setting
    assert problem in answer["problem"]
    assert allowed in answer["allowed"]
    assert "reaches the hub" not in answer["allowed"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_sets(tmp_path_factory.mktemp("sets"), "http://127.0.0.1:9")


@pytest.fixture(scope="module")
def saved(sets: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders that `save_to_disk` wrote: `one` of a table, `all` of its splits."""
    import datasets

    root = tmp_path_factory.mktemp("saved")
    images = [{"image": str(sets["user/plain"] / "train" / f"{row}.png")} for row in range(ROWS)]
    table = datasets.Dataset.from_list(images, features=datasets.Features({"image": datasets.Image()}))
    table.save_to_disk(root / "one")
    datasets.DatasetDict(train=table, test=table.select([3])).save_to_disk(root / "all")
    return root


def test_folders_that_save_to_disk_wrote_are_read(saved: Path) -> None:
    one, all_splits = str(saved / "one"), str(saved / "all")
    assert fetch(Column(one, "train", "image"), [0, 2]) == [encoded(0), encoded(2)]
    assert fetch(Column(one, "train[1:3]", "image"), [1]) == [encoded(2)]
    assert fetch(Column(all_splits, "test", "image"), [0]) == [encoded(3)]
    assert fetch(Column(all_splits, "test+train[:50%]", "image"), [2]) == [encoded(1)]
    with refused(ConfigError, "data.split", got="other", allowed=f"a split of {all_splits}: train, test"):
        fetch(Column(all_splits, "other", "image"), [0])
    with refused(ConfigError, "data.split", got="train[9:]", problem="datasets says", names=("train, test",)):
        fetch(Column(all_splits, "train[9:]", "image"), [0])
    with refused(ConfigError, "data.config", got="x"):
        fetch(Column(one, "train", "image", config="x"), [0])


def test_a_stream_has_no_slices(sets: dict[str, Path]) -> None:
    plain = str(sets["user/plain"])
    with refused(ConfigError, "data.split", got="train[1:3]", names=("data.streaming=false", "one of train")):
        fetch(Column(plain, "train[1:3]", "image"), [0])
    assert fetch(Column(plain, "train+train", "image"), [ROWS]) == [encoded(0)]


@pytest.mark.parametrize("streaming", [True, False])
def test_columns_without_an_image_are_refused_with_those_that_have_some(
    sets: dict[str, Path], *, streaming: bool
) -> None:
    odd, addresses = str(sets["user/odd"]), str(sets[ADDRESSES])
    for dataset, name, holds, images in (
        (odd, "list", ", which holds lists", "a/b, raw"),
        (odd, "parts", ", which holds parts: in", "a/b, raw"),
        (odd, "image", "", "a/b, raw"),
        (addresses, "text", ", which holds texts", "path, url"),
        (addresses, "number", ", which holds numbers", "path, url"),
    ):
        allowed = f"a column of images, of which {dataset} has {images}"
        with refused(ConfigError, "data.column", got=name, problem=holds, allowed=allowed):
            fetch(Column(dataset, "train", name, streaming=streaming), [0])


def test_a_row_without_an_image_is_named(sets: dict[str, Path]) -> None:
    odd, url = str(sets["user/odd"]), Column(str(sets[ADDRESSES]), "train", "url")
    problem = ", whose row 1 has no image in the column a/b"
    with refused(ImageError, "data.dataset", got=odd, problem=problem, allowed="another data.index"):
        fetch(Column(odd, "train", "a/b"), [0, 1])
    training = Column(odd, "train", "a/b", section="method.training")
    allowed = f"{FORMAT_NAMES}, so fewer method.training.rows"
    with refused(
        ImageError, "method.training.dataset", got=odd, problem="row 2 has in the column a/b", allowed=allowed
    ):
        fetch(training, [2])
    with refused(ImageError, "data.dataset", got=url.dataset, problem="what cannot be read: http://localhost:9/"):
        fetch(url, [0])


def test_a_folder_that_is_no_data_set_is_an_error_with_its_own_way_out(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "train.parquet").write_bytes(b"no parquet")
    for folder in (tmp_path / "empty", tmp_path):
        with refused(ImageError, "data.dataset", got=str(folder), names=("save_to_disk",)) as caught:
            fetch(Column(str(folder), "train", "image"), [0])
        assert "hub" not in str(caught.value.allowed)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
def test_a_decoded_image_is_kept_without_loss(tmp_path: Path, mode: str) -> None:
    """As a version of `datasets` hands it over that cannot stop decoding."""
    noise = np.random.default_rng(0).random((20, 24), np.float32)
    image = Image.fromarray((noise * 65535).astype(np.uint16) if mode == "I;16" else noise)
    if mode not in ("I;16", "F"):
        image = Image.fromarray((noise * 255).astype(np.uint8)).convert(mode)
    (tmp_path / "kept").write_bytes(_encoded(image))
    with Image.open(tmp_path / "kept") as kept:
        assert kept.mode == mode
        np.testing.assert_array_equal(np.asarray(kept), np.asarray(image))
    assert read_image(tmp_path / "kept").shape[:2] == (20, 24)
