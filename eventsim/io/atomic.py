"""Files that appear under their final name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from eventsim.errors import OutputExistsError


@contextmanager
def atomic_path(final: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary path beside `final` to write to; renamed to it at the end, removed on any error or interrupt.

    Args:
        final: the name under which the finished file shall stand. Its folder is made where it is missing.
        overwrite: replace an existing file; otherwise it is an error, raised before anything is written.

    Raises:
        OutputExistsError: `final` exists and `overwrite` is false.
    """
    target = Path(final)
    refuse_existing(target, overwrite=overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix stays last: several libraries choose the format by it.
    partial = target.with_name(f".{target.stem}.{os.getpid()}.partial{target.suffix}")
    try:
        yield partial
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def refuse_existing(final: str | os.PathLike[str], *, overwrite: bool) -> None:
    """For work that is best not begun when its output could not be written.

    Raises:
        OutputExistsError: `final` exists and `overwrite` is false.
    """
    if not overwrite and Path(final).exists():
        raise OutputExistsError(final)
