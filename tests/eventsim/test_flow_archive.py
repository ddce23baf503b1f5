"""Flow of many windows in one archive: what NumPy reads back, and that a broken run leaves nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from eventsim.errors import OutputExistsError
from eventsim.io.flow_archive import flow_archive

FLOWS = np.random.default_rng(0).normal(size=(3, 2, 4, 5)).astype(np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_numpy_reads_back(tmp_path, dtype):
    for name in ("a.npz", "b.npz"):
        with flow_archive(tmp_path / name, 3, dtype=dtype) as archive:
            for index, flow in enumerate(FLOWS):
                archive.add(10 * index, 10 * index + 15, flow)
    found = np.load(tmp_path / "a.npz")
    assert found["flow"].dtype == dtype
    assert np.array_equal(found["flow"], FLOWS.astype(dtype))
    assert found["t0_us"].tolist() == [0, 10, 20]
    assert found["t1_us"].tolist() == [15, 25, 35]
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def interrupted() -> Iterator[np.ndarray]:
    yield FLOWS[0]
    raise KeyboardInterrupt


def test_other_than_the_announced_flows_leaves_nothing(tmp_path):
    def write(flows: Iterable[np.ndarray], count: int) -> None:
        with flow_archive(tmp_path / "a.npz", count) as archive:
            for flow in flows:
                archive.add(0, 1, flow)

    for flows, count in (([], 0), ([], 1), (list(FLOWS), 4), (list(FLOWS), 2), ([FLOWS[0], FLOWS[1][:, :3]], 2)):
        with pytest.raises(ValueError, match="expected"):
            write(flows, count)
    with pytest.raises(KeyboardInterrupt):
        write(interrupted(), 3)
    assert list(tmp_path.iterdir()) == []
    write(list(FLOWS), 3)
    with pytest.raises(OutputExistsError):
        write(list(FLOWS), 3)
