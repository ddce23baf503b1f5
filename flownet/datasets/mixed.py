"""Several data sets as one: real and simulated recordings, events and spikes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Dataset

from flownet.datasets.batch import Batch

#: Draws n and n + REPLACEMENT are of one data set, so that a draw which cannot be read is replaced within its batch.
REPLACEMENT = 10**9


class Mixed(Dataset[Batch]):
    """Batches that each come whole from one of several data sets, so that these may differ in shape.

    Draw n is draw n of the data set that its batch, n // batch_draws, is given to; which one depends on the seed and
    the batch's number alone. So any number of workers gives the same batches, and training can go on from any of them.

        mixed = Mixed([simulated, real], [3, 1], batch_draws=4)
        loader = DataLoader(mixed, batch_size=4, sampler=Draws(0, 4000), num_workers=2, collate_fn=join)

    Args:
        datasets: data sets of which any draw can be asked for, as `MvsecPairs`.
        weights: how often batches come from each, relative to each other.
        batch_draws: draws of a batch: the loader's batch_size. Loaders must begin at a multiple of it.
        seed: of the choice.

    Raises:
        ValueError: no data sets, weights that are not one for each or not above 0, or no draws.
    """

    def __init__(
        self, datasets: Sequence[Dataset[Batch]], weights: Sequence[float], *, batch_draws: int, seed: int = 0
    ) -> None:
        if not datasets or len(datasets) != len(weights):
            raise ValueError(f"expected one weight for each data set, got {len(weights)} for {len(datasets)}")
        shares = np.asarray(weights, np.float64)
        if not (np.isfinite(shares).all() and (shares > 0).all()):
            raise ValueError(f"expected weights above 0, got {list(weights)}")
        if batch_draws < 1:
            raise ValueError(f"expected batch_draws of 1 or more, got {batch_draws}")
        self.datasets, self.batch_draws, self.seed = list(datasets), batch_draws, seed
        self._bounds = np.cumsum(shares / shares.sum())[:-1]

    def choice(self, draw: int) -> int:
        """Number of the data set that a draw is of."""
        batch = draw % REPLACEMENT // self.batch_draws
        chance = np.random.default_rng([self.seed, 0x313D, batch]).random()
        return int(np.searchsorted(self._bounds, chance, side="right"))

    def __getitem__(self, draw: int) -> Batch:
        """The patches of one draw, as a batch."""
        return self.datasets[self.choice(draw)][draw]
