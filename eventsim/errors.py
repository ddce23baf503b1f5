"""What the packages say of bad input: one line that names the file, what was expected and what was found."""

from __future__ import annotations

from os import PathLike


class InputError(ValueError):
    """Input that cannot be used. The commands print its message as one line and exit with code 1.

    Args:
        source: the file, folder or argument at fault.
        expected: what would have been right.
        found: what is there instead.
        at: where in the source (byte offset, event index, key), when that is known.
    """

    def __init__(self, source: str | PathLike[str], *, expected: str, found: str, at: str | None = None) -> None:
        where = f" at {at}" if at else ""
        super().__init__(f"{source}: expected {expected}, found {found}{where}")


class OutputExistsError(FileExistsError):
    """The output is already there, and nobody asked for it to be overwritten."""

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__(f"{path}: already exists; pass --overwrite (overwrite=True) to replace it")
