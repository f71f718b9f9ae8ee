from __future__ import annotations

import hashlib
import threading
import urllib.error
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
import torch

from dip_stages.dip import vgg16_weights
from dip_stages.dip.vgg16_weights import VGG16_SHA256, VGG16_URL, published_vgg16
from dip_stages.errors import WeightsError
from tests.raising import refused

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GOOD = b"weights"
SHA256 = hashlib.sha256(GOOD).hexdigest()
WAYS_OUT = ("loss.path=", "loss=perceptual")
ANSWERS = {
    "/good.pth": b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" + GOOD,
    "/short.pth": b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + GOOD,
    "/cut.pth": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n" + GOOD,
    "/portal.pth": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nlogin",
    "/noise.pth": b"what?\r\n\r\n",
    "/busy.pth": b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
}


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.wfile.write(ANSWERS[self.path])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Answers) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "torch" / "hub" / "checkpoints"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of the published one's name, and too large to be copied in one piece."""
    (tmp_path / "vgg16-397923af.pth").write_bytes(GOOD * 100_000)
    return tmp_path / "vgg16-397923af.pth"


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_published_file_is_torchvisions() -> None:
    # The name carries the checksum's first eight digits.
    assert VGG16_URL.endswith(f"/vgg16-{VGG16_SHA256[:8]}.pth")


def test_a_download_lands_in_the_cache(server: str, cache: Path) -> None:
    file = published_vgg16(url=f"{server}/good.pth", sha256=SHA256)
    assert file == cache / "good.pth"
    assert [path.name for path in cache.iterdir()] == ["good.pth"]
    assert file.read_bytes() == GOOD


@pytest.mark.parametrize("answer", ["short", "cut", "portal", "noise"])
def test_a_download_that_went_wrong_says_so_and_leaves_no_file(server: str, cache: Path, answer: str) -> None:
    url = f"{server}/{answer}.pth"
    with pytest.raises(WeightsError) as caught:
        published_vgg16(url=url, sha256=hashlib.sha256(b"other").hexdigest())
    assert caught.value.setting == url
    assert all(way in str(caught.value.allowed) for way in (url, *WAYS_OUT))
    assert list(cache.iterdir()) == []


def test_a_refusal_of_the_server_is_an_error_and_its_connection_is_closed(server: str, cache: Path) -> None:
    url = f"{server}/busy.pth"
    with refused(WeightsError, url, problem="Service Unavailable", names=(url, *WAYS_OUT)) as caught:
        published_vgg16(url=url)
    refusal = caught.value.__cause__
    assert isinstance(refusal, urllib.error.HTTPError)
    closed = refusal.fp is None or refusal.fp.closed
    refusal.close()
    assert closed
    assert list(cache.iterdir()) == []


def test_a_wrong_download_does_not_stand_in_the_way_of_the_right_one(tmp_path: Path, cache: Path) -> None:
    published = tmp_path / "vgg.pth"
    published.write_bytes(b"half of it")
    got = hashlib.sha256(b"half of it").hexdigest()
    with refused(WeightsError, published.as_uri(), got=got, problem=SHA256, names=WAYS_OUT):
        published_vgg16(url=published.as_uri(), sha256=SHA256)
    published.write_bytes(GOOD)
    assert published_vgg16(url=published.as_uri(), sha256=SHA256) == cache / "vgg.pth"


def test_no_server_at_all_is_an_error_with_both_ways_out(cache: Path) -> None:
    with refused(WeightsError, "http://127.0.0.1:9/vgg.pth", names=("http://127.0.0.1:9/vgg.pth", *WAYS_OUT)):
        published_vgg16(url="http://127.0.0.1:9/vgg.pth")
    assert list(cache.iterdir()) == []


def test_a_path_that_is_given_is_never_downloaded_over(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "published.pth").write_bytes(GOOD)
    with refused(WeightsError, tmp_path / "mine.pth", names=WAYS_OUT):
        published_vgg16(str(tmp_path / "mine.pth"), url=(tmp_path / "published.pth").as_uri(), sha256=SHA256)
    assert not (tmp_path / "mine.pth").exists()
    assert not cache.exists()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with refused(WeightsError, tmp_path, names=WAYS_OUT):
        published_vgg16(str(tmp_path))


def test_a_path_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.pth").write_bytes(GOOD)
    assert published_vgg16("~/mine.pth", sha256=SHA256) == tmp_path / "mine.pth"


def test_the_home_of_an_unknown_user_is_an_error_with_both_ways_out() -> None:
    with refused(WeightsError, "~no_user_of_this_name/mine.pth", names=WAYS_OUT):
        published_vgg16("~no_user_of_this_name/mine.pth")


def test_another_checksum_is_refused(file: Path) -> None:
    with refused(WeightsError, file, got=digest(file), problem="397923af", names=("loss.path=", "loss=perceptual")):
        published_vgg16(str(file))


def test_a_missing_file_names_both_ways_out(tmp_path: Path) -> None:
    ways = (VGG16_URL, "loss.path=", "loss=perceptual")
    with refused(WeightsError, tmp_path / "nowhere.pth", problem="No such file", names=ways):
        published_vgg16(str(tmp_path / "nowhere.pth"))


def test_weights_are_downloaded_once_into_torchs_cache(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    cached = tmp_path / "home" / "hub" / "checkpoints" / file.name
    assert published_vgg16(url=file.as_uri(), sha256=digest(file)) == cached
    wanted = digest(file)
    file.unlink()
    assert published_vgg16(url=file.as_uri(), sha256=wanted) == cached
    assert cached.parent == vgg16_weights._cache()


def test_the_cache_is_torch_hubs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert str(vgg16_weights._cache()) == f"{torch.hub.get_dir()}/checkpoints"


def test_a_failed_download_is_an_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with refused(WeightsError, (tmp_path / "vgg.pth").as_uri(), names=("loss.path=", "loss=perceptual")):
        published_vgg16(url=(tmp_path / "vgg.pth").as_uri())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
