"""By what a source is known again: the checksum of its content, and a stamp that spares reading it when nothing wrote.

Copies of a tree have other stamps and the same checksums, on any machine.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from eventsim.io.checksum import joined_checksum
from eventsim.light.frames import PICTURE_SUFFIXES


def source_stamp(path: Path) -> str:
    """A short word that changes when a source's files are written to, renamed, added or removed.

    Args:
        path: a picture, a video or a folder of frames.

    Raises:
        OSError: it is gone, or may not be read.
    """
    digest = hashlib.sha256()
    for file in _files(path):
        state = file.stat()
        digest.update(b"%b/%d/%d/" % (os.fsencode(file.name), state.st_size, state.st_mtime_ns))
    return digest.hexdigest()[:16]


def source_checksum(path: Path) -> str:
    """sha256 of a source's file; of a folder, of the checksums and names of its frames.

    Raises:
        OSError: it is gone, or may not be read.
    """
    if path.is_dir():
        return joined_checksum(_digest(file) + os.fsencode(file.name) for file in _files(path))
    return _digest(path).hex()


def _digest(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    shown = (file for file in sorted(path.iterdir()) if not file.name.startswith("."))
    yield from (file for file in shown if file.suffix.lower() in PICTURE_SUFFIXES)
