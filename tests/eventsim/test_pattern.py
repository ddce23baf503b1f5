"""Fixed patterns: their statistics, and how files give them."""

from __future__ import annotations

import errno

import numpy as np
import pytest

from eventsim import SpikeCamera
from eventsim.cameras.pattern import Pattern, as_pattern
from eventsim.cameras.preset import camera_settings
from eventsim.cameras.random import Purpose
from eventsim.io.camera_file import write_camera

SIZE = (300, 400)


def values(pattern: Pattern, specimen: int = 0, purpose: Purpose = Purpose.RESPONSE, size=SIZE):
    return pattern.values(specimen, purpose, *size).astype(np.float64)


def test_spread_is_that_of_a_normal():
    found = values(Pattern(mean=2.0, spread=0.05))
    # 4.5 standard errors of mean and standard deviation over 120,000 pixels.
    assert abs(found.mean() - 2) < 4.5 * 0.1 / np.sqrt(found.size)
    assert abs(found.std() / 0.1 - 1) < 4.5 / np.sqrt(2 * found.size)


def test_lognormal_has_the_mean_and_the_logarithms_spread():
    found = values(Pattern(mean=0.005, spread=0.4, distribution="lognormal"))
    assert abs(np.log(found).std() / 0.4 - 1) < 4.5 / np.sqrt(2 * found.size)
    assert abs(found.mean() / 0.005 - 1) < 4.5 * np.sqrt(np.expm1(0.16) / found.size)


def test_rows_and_columns_share_their_offsets():
    found = values(Pattern(rows=0.03, columns=0.01))
    rows, columns = found.mean(axis=1), found.mean(axis=0)
    np.testing.assert_allclose(found, rows[:, None] + columns - found.mean(), atol=1e-6)
    assert abs(rows.std() / 0.03 - 1) < 4.5 / np.sqrt(2 * SIZE[0])
    assert abs(columns.std() / 0.01 - 1) < 4.5 / np.sqrt(2 * SIZE[1])


def test_falloff_is_what_the_corners_lose():
    found = values(Pattern(falloff=0.2), size=(101, 201))
    assert found[0, 0] / found[50, 100] == pytest.approx(0.8, abs=1e-6)
    assert found.mean() == pytest.approx(1, abs=1e-6)


def test_values_are_never_negative():
    assert values(Pattern(spread=2.0)).min() == 0


def test_specimens_and_quantities_differ():
    pattern = Pattern(spread=0.1)
    first = values(pattern)
    np.testing.assert_array_equal(first, values(pattern))
    for other in (values(pattern, specimen=1), values(pattern, purpose=Purpose.DARK)):
        assert abs(np.corrcoef(first.ravel(), other.ravel())[0, 1]) < 4.5 / np.sqrt(first.size)


def test_map_is_taken_as_it_is():
    given = np.linspace(0, 2, 6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(as_pattern(given).values(5, Purpose.DARK, 2, 3), given)
    with pytest.raises(ValueError, match=r"\(2, 3\).*\(4, 3\)"):
        as_pattern(given).values(0, Purpose.DARK, 4, 3)


@pytest.mark.parametrize(
    "wrong",
    [{"spread": -1.0}, {"mean": np.nan}, {"distribution": "cauchy"}, {"falloff": 1.0}, {"map": np.zeros(3)},
     {"map": np.full((2, 2), -1.0)}, {"map": np.full((2, 2), np.nan)}],
)  # fmt: skip
def test_values_out_of_range(wrong):
    with pytest.raises(ValueError, match="expected"):
        Pattern(**wrong)


def test_file_gives_numbers_spreads_and_maps(tmp_path):
    np.savez(tmp_path / "maps.npz", dark_spikes_per_readout=np.full((4, 8), 0.25, np.float32))
    path = tmp_path / "mine.yaml"
    path.write_text("response: {spread: 0.1}\nthreshold: 1.5\ndark_spikes_per_readout: {file: maps.npz}\n")
    camera = SpikeCamera.preset(str(path))
    assert (camera.response.spread, camera.threshold) == (0.1, 1.5)
    assert (camera.dark_spikes_per_readout.map == 0.25).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("response: {sprad: 1.0}", r"mine\.yaml.*sprad"),
        ("response: {spread: wide}", r"mine\.yaml"),
        ("response: {spread: -1.0}", r"mine\.yaml.*spread"),
        ("response: {file: none.npz}", r"none\.npz"),
        ("response: {file: maps.npz}", r"maps\.npz.*response"),
        ("response: {file: maps.npz, spread: 1.0}", r"mine\.yaml.*file and key"),
        ("readout_hz: {spread: 1.0}", r"mine\.yaml.*number"),
        ("response: {spread: true}", r"mine\.yaml.*a number .* for spread, got True"),
        ("response: {spread: 1.0, spread: 2.0}", r"mine\.yaml.*spread twice"),
        ("response: {file: maps.npz, 3: 4}", r"mine\.yaml.*file and key alone"),
        ("response: {file: complex.npz}", r"complex\.npz.*complex128"),
        ("response: {file: empty.npz}", r"empty\.npz"),
        ("response: {file: torn.npz}", r"torn\.npz"),
        ("response: {file: damaged.npz}", r"damaged\.npz"),
        (
            "height: 2\nwidth: 3\nresponse: {file: maps.npz, key: other}",
            r"maps\.npz.*2x3 .*response, .*mine\.yaml.*2x2",
        ),
    ],
)
def test_faults_of_a_file_name_it(tmp_path, text, words):
    np.savez(tmp_path / "maps.npz", other=np.ones((2, 2)))
    np.savez(tmp_path / "complex.npz", response=np.ones((2, 2), complex))
    np.savez_compressed(tmp_path / "whole.npz", response=np.random.default_rng(0).random((20, 30)))
    data = (tmp_path / "whole.npz").read_bytes()
    for name, kept in (("empty", b""), ("torn", data[:200]), ("damaged", data[:200] + bytes(99) + data[299:])):
        (tmp_path / f"{name}.npz").write_bytes(kept)
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        SpikeCamera.preset(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_camera_file_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    response = rng.random((6, 8)).astype(np.float32)
    camera = SpikeCamera.preset("vidar", height=6, width=8, response=response, reset="hard")
    write_camera(tmp_path / "mine.yaml", *camera_settings(camera))
    again = SpikeCamera.preset(str(tmp_path / "mine.yaml"))
    still = rng.random((6, 8)).astype(np.float32)
    first, second = (each.simulate(still, duration_us=10_000, seed=3) for each in (camera, again))
    np.testing.assert_array_equal(first.packed, second.packed)
    with pytest.raises(FileExistsError):
        write_camera(tmp_path / "mine.yaml", *camera_settings(camera))


def test_equal_patterns_are_equal():
    assert Pattern(spread=0.1) == Pattern(spread=0.1) != Pattern(spread=0.2)
    first, same, other = (Pattern(map=np.full((2, 2), value)) for value in (1, 1, 2))
    assert first == same != other
    assert hash(first) == hash(same)
    assert first != Pattern()
    zeros = [Pattern(map=np.full((2, 2), zero)) for zero in (0.0, -0.0)]
    assert len(set(zeros)) == 1
    assert SpikeCamera.preset("vidar") == SpikeCamera.preset("vidar")


def test_a_map_of_other_than_numbers_is_refused():
    with pytest.raises(ValueError, match="complex128"):
        Pattern(map=np.ones((2, 2), complex))


def test_a_file_without_a_size_has_its_maps(tmp_path):
    np.savez(tmp_path / "maps.npz", response=np.ones((4, 8)), threshold=np.ones((4, 9)))
    (tmp_path / "MINE.YAML").write_text("response: {file: maps.npz}")
    camera = SpikeCamera.preset(str(tmp_path / "MINE.YAML"))
    assert (camera.height, camera.width) == (4, 8)
    (tmp_path / "two.yaml").write_text("response: {file: maps.npz}\nthreshold: {file: maps.npz}")
    with pytest.raises(ValueError, match=r"maps\.npz: .*4x8 .*threshold.* 4x9"):
        SpikeCamera.preset(str(tmp_path / "two.yaml"))
    with pytest.raises(ValueError, match=r"maps\.npz: .*5x8 .*response"):
        SpikeCamera.preset(str(tmp_path / "MINE.YAML"), height=5, width=8)


def test_a_camera_file_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    """As a full disk does it: NumPy's own error names no file."""

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(OSError, match=r"No space left.*mine_maps\.npz"):
        write_camera(tmp_path / "mine.yaml", {}, {"response": np.ones((2, 2), np.float32)})
    assert list(tmp_path.iterdir()) == []


def test_camera_file_refuses_maps_that_are_there_before_it_writes(tmp_path):
    (tmp_path / "mine_maps.npz").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"mine_maps\.npz"):
        write_camera(tmp_path / "mine.yaml", {}, {"response": np.ones((2, 2), np.float32)})
    assert [path.name for path in tmp_path.iterdir()] == ["mine_maps.npz"]
