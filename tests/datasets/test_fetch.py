"""Where files are looked for, in which order, and what is said when they are nowhere. Nothing is downloaded."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pooch
import pytest

from quasistatic.datasets.fetch import cache_folder, find
from quasistatic.errors import InputError


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, no folder of one's own, and no network."""

    def unreachable(url, **_):
        raise ConnectionError(f"no route to {url}\nand more")

    monkeypatch.delenv("QUASISTATIC_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(pooch, "retrieve", unreachable)
    return tmp_path / "cache" / "quasistatic"


def put(path: Path, content: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_ones_own_folder_comes_before_the_cache_and_the_cache_before_the_network(cache, tmp_path, monkeypatch):
    assert cache_folder() == cache
    cached = put(cache / "mnist" / "a.gz")
    assert find("mnist", "a.gz") == cached
    monkeypatch.setenv("QUASISTATIC_DATA", str(tmp_path / "own"))
    own = put(tmp_path / "own" / "mnist" / "a.gz")
    assert find("mnist", "a.gz") == own
    assert find("mnist", "b", "a.gz") == own
    own.unlink()
    assert find("mnist", "a.gz") == cached


def test_any_of_the_names_will_do_and_the_first_is_preferred(cache):
    second = put(cache / "x" / "a.bin.xz")
    assert find("x", "a.bin", "a.bin.xz") == second
    first = put(cache / "x" / "a.bin")
    assert find("x", "a.bin", "a.bin.xz") == first


def test_a_file_with_a_home_is_fetched_to_the_cache_with_its_checksum(cache, monkeypatch):
    asked = []

    def retrieve(url, known_hash, fname, path):
        asked.append((url, known_hash))
        return str(put(Path(path) / fname))

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    name = "t10k-images-idx3-ubyte.gz"
    assert find("mnist", name, "t10k-images-idx3-ubyte") == cache / "mnist" / name
    assert asked == [(f"https://ossci-datasets.s3.amazonaws.com/mnist/{name}", "md5:9fb629c4189551a2d022fa330f9573f3")]
    assert find("mnist", name) == cache / "mnist" / name
    assert len(asked) == 1


def test_an_archive_is_unpacked_whole_and_dropped(cache, tmp_path, monkeypatch):
    with tarfile.open(tmp_path / "source.tar.gz", "w:gz") as tar:
        for name in ("cifar-10-batches-bin/test_batch.bin", "cifar-10-batches-bin/readme.html", "../outside"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tar.addfile(info, io.BytesIO(b"some"))

    def retrieve(url, known_hash, fname, path):
        Path(path).mkdir(parents=True)
        return shutil.copy(tmp_path / "source.tar.gz", Path(path) / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    found = find("cifar-10-batches-bin", "test_batch.bin", "test_batch.bin.xz")
    assert found.read_bytes() == b"some"
    assert sorted(path.name for path in found.parent.iterdir()) == ["readme.html", "test_batch.bin"]
    assert [path.name for path in cache.iterdir()] == ["cifar-10-batches-bin"]


def test_a_damaged_archive_leaves_nothing_that_looks_like_data(cache, monkeypatch):
    monkeypatch.setattr(pooch, "retrieve", lambda url, known_hash, fname, path: put(Path(path) / fname, b"no tar"))
    with pytest.raises(InputError, match=r"cifar-10-binary\.tar\.gz could not be fetched"):
        find("cifar-10-batches-bin", "test_batch.bin")
    assert not (cache / "cifar-10-batches-bin").exists()


@pytest.mark.parametrize("error", [ConnectionError("no route\nand more"), ValueError("hash does not match")])
def test_what_cannot_be_fetched_is_named_with_the_place_to_put_it(cache, monkeypatch, error):
    def retrieve(url, **_):
        raise error

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    with pytest.raises(
        InputError, match=r"^[^\n]*amat could not be fetched \((no route|hash does not match)\)[^\n]*$"
    ) as caught:
        find("binarized_mnist", "binarized_mnist.npz", "binarized_mnist_test.amat")
    assert str(caught.value).endswith(
        "put it into the folder binarized_mnist of a folder that the environment variable QUASISTATIC_DATA names"
    )


def test_what_has_no_home_is_named_too(cache):
    with pytest.raises(InputError, match=r"^pine\.jpg is not in .*bark, and has no home to download it from: put it into"):
        find("bark", "pine.jpg")


def test_a_variable_that_names_no_folder_is_refused(cache, monkeypatch):
    monkeypatch.setenv("QUASISTATIC_DATA", "/nowhere")
    with pytest.raises(InputError, match="QUASISTATIC_DATA names /nowhere, which is not a folder"):
        find("bark", "pine.jpg")
