"""What the packages say of bad input: one line that names the file, what was expected and what was found.

Both errors can also be made from a finished message alone: so pickle and torch's data loader rebuild them when they
bring an error out of a worker.
"""

from __future__ import annotations

from os import PathLike
from typing import overload

_EXISTS = "already exists; pass --overwrite (overwrite=True) to replace it"


class InputError(ValueError):
    """Input that cannot be used. The commands print its message as one line and exit with code 1.

    Args:
        source: the file, folder or argument at fault; alone, the whole message.
        expected: what would have been right.
        found: what is there instead.
        at: where in the source (byte offset, event index, key), when that is known.
    """

    @overload
    def __init__(self, source: str, /) -> None: ...

    @overload
    def __init__(self, source: str | PathLike[str], *, expected: str, found: str, at: str | None = None) -> None: ...

    def __init__(
        self, source: str | PathLike[str], *, expected: str | None = None, found: str = "", at: str | None = None
    ) -> None:
        where = f" at {at}" if at else ""
        super().__init__(str(source) if expected is None else f"{source}: expected {expected}, found {found}{where}")


class OutputExistsError(FileExistsError):
    """The output is already there, and nobody asked for it to be overwritten.

    Args:
        path: the file or folder that is there, or the whole message.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        super().__init__(str(path) if _EXISTS in str(path) else f"{path}: {_EXISTS}")
