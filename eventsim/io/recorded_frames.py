"""The grey frames that a camera recorded beside its events: AEDAT4, MVSEC, or pictures listed with their times."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eventsim.errors import InputError

Grey = NDArray[np.uint8]
_HDF5 = (".h5", ".hdf5")
_LISTS = (".txt", ".csv")


def recorded_frames(path: str | os.PathLike[str], camera: str = "left") -> Iterator[tuple[int, Grey]]:
    """A recording's frames, one at a time.

    Args:
        path: an AEDAT4 file, MVSEC's `*_data.hdf5`, or a list of pictures: a text file of lines `seconds name`, names
            from the list's folder (`images.txt` of the Event Camera Dataset, Mueggler et al. 2017).
        camera: of MVSEC: "left" or "right".

    Returns:
        Time (absolute, microseconds) and picture uint8 [H, W], whose times rise and whose size stays.

    Raises:
        InputError: nothing there, an unknown kind, no frame, or, when reached, one that cannot be read, that is of
            another size, or that does not come after the one before.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if not source.is_file():
        raise InputError(source, expected="a recording with frames", found="nothing there")
    if suffix == ".aedat4":
        from eventsim.io.vendor import aedat4_frames

        return _in_order(source, aedat4_frames(source))
    if suffix in _HDF5:
        return _in_order(source, _mvsec_frames(source, camera))
    if suffix in _LISTS:
        return _in_order(source, _listed_pictures(source))
    kinds = "frames in AEDAT4, MVSEC's *_data.hdf5, or a .txt list of pictures (seconds name)"
    raise InputError(source, expected=kinds, found=f"suffix {suffix or 'none'}")


def _in_order(source: Path, frames: Iterator[tuple[int, Grey]]) -> Iterator[tuple[int, Grey]]:
    last_us, size = None, None
    for t_us, picture in frames:
        if last_us is not None and t_us <= last_us:
            raise InputError(source, expected=f"a frame after {last_us} us", found=f"one at {t_us} us")
        if size is not None and picture.shape != size:
            raise InputError(source, expected=f"frames of one size, {size}", found=f"{picture.shape} at {t_us} us")
        last_us, size = t_us, picture.shape
        yield t_us, picture
    if last_us is None:
        raise InputError(source, expected="frames beside the events", found="none")


def _mvsec_frames(source: Path, camera: str) -> Iterator[tuple[int, Grey]]:
    from eventsim.io.mvsec import MvsecRecording

    recording = MvsecRecording(source, camera=camera)
    try:
        for index, seconds in enumerate(recording.image_ts):
            yield round(float(seconds) * 1e6), recording.image(index)
    finally:
        recording.close()


def _listed_pictures(source: Path) -> Iterator[tuple[int, Grey]]:
    import cv2

    text = source.read_text(encoding="utf-8", errors="replace")
    for line, words in enumerate((row.partition("#")[0].replace(",", " ").split() for row in text.splitlines()), 1):
        if not words:
            continue
        seconds = _seconds(words[0])
        if seconds is None or len(words) != 2:
            raise InputError(source, expected="a line `seconds name`", found=repr(" ".join(words)), at=f"line {line}")
        path = source.parent / words[1]
        data = np.fromfile(path, np.uint8) if path.is_file() else np.zeros(0, np.uint8)
        picture = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
        if picture is None:
            found = "no picture that OpenCV reads" if path.is_file() else "nothing there"
            raise InputError(path, expected=f"a picture, as {source.name} lists", found=found)
        yield round(seconds * 1e6), np.asarray(picture, np.uint8)


def _seconds(word: str) -> float | None:
    try:
        value = float(word)
    except ValueError:
        return None
    return value if np.isfinite(value) else None
