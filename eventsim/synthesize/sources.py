"""The sources of a data set: the stills and clips in a tree of folders, with their labels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from eventsim.errors import InputError
from eventsim.light.frames import PICTURE_SUFFIXES, natural_order

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ogv")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A picture or clip.

    Args:
        path: from the folder of the sources (posix); "." for a clip that is this folder itself.
        label: the folder that holds it, from the folder of the sources (posix); "." for that folder itself.
        name: what its items' names begin with; unique within its label.
        kind: "still" or "clip".
    """

    path: str
    label: str
    name: str
    kind: Literal["still", "clip"]


def find_sources(folder: Path, *, clips: bool = False) -> list[Source]:
    """All sources in a tree: folder by folder in order of their names, numbers in names by value.

    Pictures are stills. Videos are clips. Hidden files and folders and other files are passed over.

    Args:
        folder: top of the tree. Linked folders belong to it.
        clips: the pictures of a folder are the frames of one clip, named after the folder and with its parent's label.

    Raises:
        InputError: no such folder, no source in it, or one whose name no table could hold.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise InputError(folder, expected="a folder of pictures or videos", found=found)
    found_sources = list(_walk(folder, PurePosixPath("."), clips, frozenset()))
    if not found_sources:
        raise InputError(folder, expected="a folder with pictures or videos in it", found="none, however deep")
    for source in found_sources:
        _refuse_unspeakable(folder, source)
    return _distinct(found_sources)


def _walk(folder: Path, here: PurePosixPath, clips: bool, above: frozenset[str]) -> Iterator[Source]:
    """The sources in a folder, then those in its folders; `above` keeps links from leading round in a circle."""
    above |= {os.path.realpath(folder)}
    entries = sorted((path for path in folder.iterdir() if not path.name.startswith(".")), key=natural_order)
    files = [path for path in entries if path.is_file()]
    if clips and any(path.suffix.lower() in PICTURE_SUFFIXES for path in files):
        yield Source(path=str(here), label=str(here.parent), name=here.name or folder.resolve().name, kind="clip")
    for path in files:
        if path.suffix.lower() in VIDEO_SUFFIXES:
            yield _file(path, here, "clip")
        elif path.suffix.lower() in PICTURE_SUFFIXES and not clips:
            yield _file(path, here, "still")
    for path in entries:
        if path.is_dir() and os.path.realpath(path) not in above:
            yield from _walk(path, here / path.name, clips, above)


def _file(path: Path, here: PurePosixPath, kind: Literal["still", "clip"]) -> Source:
    return Source(path=str(here / path.name), label=str(here), name=path.stem, kind=kind)


def _distinct(sources: list[Source]) -> list[Source]:
    """The same, where several of a label share a name (a.png and a.jpg) with their suffixes in it."""
    count: dict[tuple[str, str], int] = {}
    for source in sources:
        count[source.label, source.name] = count.get((source.label, source.name), 0) + 1
    return [
        source if count[source.label, source.name] == 1 else _with_suffix(source, PurePosixPath(source.path).suffix)
        for source in sources
    ]


def _with_suffix(source: Source, suffix: str) -> Source:
    return Source(path=source.path, label=source.label, name=source.name + suffix.replace(".", "_"), kind=source.kind)


def _refuse_unspeakable(folder: Path, source: Source) -> None:
    """Linux takes any bytes for a name; manifests and HDF5 take text."""
    for name in (source.path, source.name):
        try:
            name.encode()
            told = not {"\n", "\r"} & set(name)
        except UnicodeEncodeError:
            told = False
        if not told:
            raise InputError(folder, expected="names in UTF-8 and of one line", found=str(os.fsencode(name)))
