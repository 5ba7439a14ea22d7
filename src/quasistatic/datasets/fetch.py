"""Location and download of data files.

They are looked up in ``$QUASISTATIC_DATA``, then in the user's cache, and downloaded otherwise.

``$QUASISTATIC_DATA/NAME`` is looked through first, then the folder NAME of the cache. What is in neither is downloaded to
the cache if it has a home known here, and kept only if its checksum is right.
"""

from __future__ import annotations

import os
import tarfile
from dataclasses import dataclass
from pathlib import Path

from quasistatic.errors import InputError
from quasistatic.storage.atomic import new_folder

__all__ = ["VARIABLE", "cache_folder", "find"]

VARIABLE = "QUASISTATIC_DATA"


@dataclass(frozen=True)
class _Home:
    url: str
    checksum: str


_LAROCHELLE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist/binarized_mnist"
_FILES = {
    "mnist/train-images-idx3-ubyte.gz": _Home(
        "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
        "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873",
    ),
    "mnist/t10k-images-idx3-ubyte.gz": _Home(
        "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
        "md5:9fb629c4189551a2d022fa330f9573f3",
    ),
    "binarized_mnist/binarized_mnist_train.amat": _Home(
        f"{_LAROCHELLE}_train.amat", "sha256:ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d"
    ),
    "binarized_mnist/binarized_mnist_valid.amat": _Home(
        f"{_LAROCHELLE}_valid.amat", "sha256:1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2"
    ),
    "binarized_mnist/binarized_mnist_test.amat": _Home(
        f"{_LAROCHELLE}_test.amat", "sha256:e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c"
    ),
}
_ARCHIVES = {  # tar files with a folder of the same name inside
    "cifar-10-batches-bin": _Home(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"
    )
}


def find(name: str, *files: str) -> Path:
    """Find a file of a data set, or download it.

    Parameters
    ----------
    name : str
        Folder of the data set: ``mnist``, ``cifar-10-batches-bin``, ``binarized_mnist`` or ``bark``.
    *files : str
        Names that the file may have, the preferred one first (``x.bin``, ``x.bin.xz``).

    Returns
    -------
    Path
        Of a file that exists.

    Raises
    ------
    InputError
        If the file is nowhere to be had, saying what to put where.
    """
    folders = [folder / name for folder in (_own_folder(), cache_folder()) if folder is not None]
    for path in (folder / file for folder in folders for file in files):
        if path.is_file():
            return path
    reason = "and has no home to download it from"
    for file in files:
        home = _FILES.get(f"{name}/{file}") or _ARCHIVES.get(name)
        if home is None:
            continue
        try:
            path = _fetch(home, name, file)
        except (OSError, ValueError, tarfile.TarError) as error:  # of network or disk, of the checksum, of the archive
            message = str(error).partition("\n")[0]
            reason = f"and {home.url} could not be fetched ({message})"
            break
        if path.is_file():
            return path
    places = " or ".join(str(folder) for folder in folders)
    raise InputError(
        f"{' or '.join(files)} is not in {places}, {reason}: put it into the folder {name} of a folder that "
        f"the environment variable {VARIABLE} names"
    )


def cache_folder() -> Path:
    """Return the folder for downloaded and generated data.

    It may not exist yet.
    """
    import pooch  # brings an HTTP client along, and is needed here only

    return Path(pooch.os_cache("quasistatic"))


def _own_folder() -> Path | None:
    """Return the folder of the environment variable, or None."""
    value = os.environ.get(VARIABLE)
    if not value:
        return None
    if not Path(value).is_dir():
        raise InputError(f"the environment variable {VARIABLE} names {value}, which is not a folder")
    return Path(value)


def _fetch(home: _Home, name: str, file: str) -> Path:
    """Download a file or an archive to the cache."""
    import pooch

    cache = cache_folder()
    if name not in _ARCHIVES:
        return Path(pooch.retrieve(home.url, known_hash=home.checksum, fname=file, path=cache / name))
    archive = home.url.rpartition("/")[2]
    _unpack(Path(pooch.retrieve(home.url, known_hash=home.checksum, fname=archive, path=cache)), cache / name)
    return cache / name / file


def _unpack(archive: Path, target: Path) -> None:
    """Extract the plain files of a tar file and delete it."""
    with tarfile.open(archive) as tar, new_folder(target) as folder:
        for member in tar:
            source = tar.extractfile(member)
            if source is not None and Path(member.name).parent.name == target.name:
                (folder / Path(member.name).name).write_bytes(source.read())
    archive.unlink()
