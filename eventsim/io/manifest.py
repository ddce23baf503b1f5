"""What a data set holds, a row an item: the journal while it is made, the manifest when it is whole.

The manifest speaks of content alone, so that it is the same wherever the data set was made. The journal also knows the
files, by which a run that goes on sees what has to be made again.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from eventsim.errors import InputError
from eventsim.io.atomic import atomic_path
from eventsim.io.faults import naming

MANIFEST, JOURNAL = "manifest.csv", "journal.jsonl"
# How every line of a journal begins.
_BEGINNING = b'{"item": "'
_SHOWN_BYTES = 40


@dataclass(frozen=True, kw_only=True)
class Row:
    """An item of a data set.

    Args:
        item: its name: `<label>/<source>_<motion>_<repeat>_<camera>`; unique.
        path: the file that holds it, from the data set's folder (posix).
        flow_path: the file that holds its flow, empty where none is known.
        source: the picture or clip, from the folder of the sources (posix).
        source_checksum: sha256 of that file; of the checksums and names of the frames of a folder.
        label: folder of the source, from the folder of the sources (posix; "." for that folder itself).
        class_index: of the label among all labels, sorted.
        kind: "spikes" or "events".
        camera: name of the camera.
        motion: of the camera before a still ("none" where it stays), or "clip": the clip's own.
        repeat: number of the repeat.
        seed: of everything random in this item.
        height, width: of the sensor, pixels.
        readout_hz: of spikes; 0 for events.
        planes: number of spike planes; 0 for events.
        events: number of events; 0 for spikes.
        duration_us: length.
        mean_rate: spikes per pixel and readout, or events per pixel and second.
        checksum: sha256 of the packed planes' bytes, or of the events (see `checksum`).
        flow_checksum: sha256 of the flow, empty where there is none.
    """

    item: str
    path: str
    flow_path: str = ""
    source: str
    source_checksum: str
    label: str
    class_index: int = 0
    kind: str
    camera: str
    motion: str
    repeat: int
    seed: int
    height: int
    width: int
    readout_hz: float = 0.0
    planes: int = 0
    events: int = 0
    duration_us: int
    mean_rate: float
    checksum: str
    flow_checksum: str = ""

    @property
    def identity(self) -> tuple[str, str, int, str]:
        """What tells an item from all others: source, motion, repeat, camera."""
        return self.source, self.motion, self.repeat, self.camera


@dataclass(frozen=True, kw_only=True)
class Entry(Row):
    """A row as the journal has it.

    Args:
        source_stamp: changes when the source's files are written to; when it has, their checksum decides.
        path_bytes, flow_bytes: sizes of the files at `path` and `flow_path`; 0 for no file.
    """

    source_stamp: str
    path_bytes: int = 0
    flow_bytes: int = 0


_COLUMNS = [field.name for field in fields(Row)]
_KINDS: dict[str, type] = {field.name: {"int": int, "float": float}.get(str(field.type), str) for field in fields(Row)}


def write_manifest(root: str | os.PathLike[str], rows: Iterable[Row]) -> Path:
    """Writes `manifest.csv` in a data set's folder, in place of an earlier one, and returns its path."""
    path = Path(root) / MANIFEST
    with (
        naming(path),
        atomic_path(path, overwrite=True) as partial,
        partial.open("w", newline="", encoding="utf-8") as f,
    ):
        table = csv.writer(f, lineterminator="\n")
        table.writerow(_COLUMNS)
        table.writerows([getattr(row, name) for name in _COLUMNS] for row in rows)
    return path


def read_manifest(root: str | os.PathLike[str]) -> list[Row]:
    """The rows of a data set's `manifest.csv`.

    Raises:
        FileNotFoundError: there is none, as in the folder of a data set that is not finished.
        InputError: a table of other columns, or a row with a value of the wrong kind; names the line.
    """
    path = Path(root) / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected the manifest of a finished data set, found nothing there")
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.reader(file)
        head = next(table, [])
        if head != _COLUMNS:
            raise InputError(path, expected=f"columns {', '.join(_COLUMNS)}", found=", ".join(head), at="line 1")
        return [_row(path, table.line_num, values) for values in table]


def _row(path: Path, line: int, values: Sequence[str]) -> Row:
    try:
        pairs = zip(_COLUMNS, values, strict=True)
        return Row(**{name: _KINDS[name](value) for name, value in pairs})
    except ValueError as error:
        raise InputError(path, expected="a row as its columns say", found=str(error), at=f"line {line}") from None


class Journal:
    """Rows in the order in which items were finished, one JSON object a line, safe on disk once added.

    Only one process may have it open. After a kill its last line may be torn: reading ends there, and adding goes on
    from there.

    Args:
        root: folder of the data set.

    Raises:
        InputError: another process is adding to it, or it holds a line that is no row; names the line, and the file
            stays as it is.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.path = Path(root) / JOURNAL
        self._file = self.path.open("a+b")
        try:
            self._lock()
            self.rows = self._read()
        except BaseException:
            self._file.close()
            raise

    def add(self, rows: Iterable[Entry]) -> None:
        """Adds rows; on return they would survive a power cut."""
        rows = list(rows)
        with naming(self.path):
            self._file.write(b"".join(json.dumps(asdict(row)).encode() + b"\n" for row in rows))
            self._file.flush()
            os.fsync(self._file.fileno())
        self.rows += rows

    def clear(self) -> None:
        """Forgets all rows."""
        self._file.truncate(0)
        self.rows = []

    def close(self) -> None:
        """Lets other processes add."""
        self._file.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # Windows
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found = "one that another process is making"
            raise InputError(self.path.parent, expected="a data set to go on with", found=found) from None

    def _read(self) -> list[Entry]:
        self._file.seek(0)
        rows, good = list[Entry](), 0
        for line in self._file:
            torn = not line.endswith(b"\n")
            if torn and (rows or line.startswith(_BEGINNING[: len(line)])):
                break
            try:
                rows.append(Entry(**json.loads(line)))
            except (ValueError, TypeError):
                raise self._no_row(line, 1 + len(rows)) from None
            good += len(line)
        self._file.truncate(good)
        return rows

    def _no_row(self, line: bytes, number: int) -> InputError:
        expected = "a row of a data set (remove the line, and its items are made again)"
        found = repr(line[:_SHOWN_BYTES].decode(errors="replace"))
        return InputError(self.path, expected=expected, found=found, at=f"line {number}")
