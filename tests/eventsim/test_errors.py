"""Errors that reach a worker's parent as what they were, with a message that still tells what is wrong."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from eventsim.errors import InputError, OutputExistsError

ERRORS = [
    (InputError(Path("a.h5"), expected="events", found="none", at="end"), "a.h5: expected events, found none at end"),
    (OutputExistsError("b.h5"), "b.h5: already exists; pass --overwrite (overwrite=True) to replace it"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message"), ERRORS)
def test_pickled_or_rebuilt_from_the_message(error: Exception, message: str) -> None:
    for copy in (error, pickle.loads(pickle.dumps(error)), type(error)(str(error))):
        assert type(copy) is type(error)
        assert str(copy) == message


class Failing:
    """A data set of one item, which cannot be read."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> None:
        raise self.error


@pytest.mark.parametrize(("error", "message"), ERRORS)
def test_out_of_a_data_loaders_worker(error: Exception, message: str) -> None:
    from torch.utils.data import DataLoader

    with pytest.raises(type(error)) as caught:
        list(DataLoader(Failing(error), num_workers=1))
    assert str(caught.value).count(message) == 1
    assert str(caught.value).rstrip().endswith(message)
