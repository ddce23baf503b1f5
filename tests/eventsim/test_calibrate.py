"""Calibration: known pixels are found again within their error bars, and what cannot be calibrated is refused."""

from __future__ import annotations

import numpy as np
import pytest

from eventsim import SpikeCamera, SpikeStream, open_spikes, write_spikes
from eventsim.cameras import noise_fit
from eventsim.cameras.calibrate import calibrate_spikes, camera_of_maps, measured_rate
from eventsim.cameras.noise_fit import fit_noise
from eventsim.cameras.pattern import Pattern
from eventsim.cameras.spike_model import pixel_maps

SIZE = (40, 60)
PLANES = 10_000
LIGHTS = (0.2, 0.5)


@pytest.fixture(scope="module")
def camera():
    return SpikeCamera.preset(
        "vidar",
        height=SIZE[0],
        width=SIZE[1],
        response=Pattern(spread=0.05, falloff=0.1, columns=0.01),
        threshold_noise=0.003,
        hot_share=0.01,
    )


@pytest.fixture(scope="module")
def recordings(camera):
    def record(luminance, seed):
        return camera.simulate(np.full(SIZE, luminance, np.float32), duration_us=PLANES * 50, seed=seed)

    return record(0.0, 1), [(record(light, seed), light) for seed, light in enumerate(LIGHTS, 2)]


@pytest.mark.parametrize("flats", [1, 2])
def test_known_maps_are_recovered_within_their_error_bars(camera, recordings, flats):
    dark, light = recordings
    found = calibrate_spikes(dark, light[-flats:])
    maps = pixel_maps(camera, *SIZE)
    gain, error = found.response.value * found.spikes_per_readout, found.response.error * found.spikes_per_readout
    for true, value, bar in ((maps.gain, gain, error), (maps.dark, found.dark.value, found.dark.error)):
        score = (value - true) / bar
        # A normal score is beyond 3 once in 370; the bars are upper bounds where noise does not add up.
        assert (np.abs(score) > 3).mean() < 0.01
        assert 0.3 < score.std() < 1.15
        assert abs(score.mean()) < 4.5 / np.sqrt(score.size)
    assert np.median(found.response.error) < 5e-4  # of a spread of 0.05
    assert np.median(found.dark.error) < 3e-5  # of 0.0049 spikes a readout


def test_curvature_is_zero_for_a_linear_camera_and_not_for_another(recordings):
    dark, light = recordings
    assert abs(calibrate_spikes(dark, light).curvature) < 1e-3
    bent = [light[0], (light[1][0], 0.6)]
    assert calibrate_spikes(dark, bent).curvature == pytest.approx(0.5 / 0.6 - 1, abs=0.01)
    assert calibrate_spikes(dark, light[:1]).curvature is None


def test_calibrated_camera_shows_the_same_rates(camera, recordings):
    dark, light = recordings
    again = calibrate_spikes(dark, light).camera(camera)
    scene = np.random.default_rng(0).random(SIZE, dtype=np.float32) * 0.8
    first, second = (each.simulate(scene, duration_us=250_000, seed=7).rate() for each in (camera, again))
    np.testing.assert_allclose(first, second, atol=2.5e-3)


def test_rate_of_an_ideal_pixel_is_within_the_clocks_rounding():
    still = np.linspace(0.01, 0.9, 60, dtype=np.float32)[None].repeat(40, 0)
    found = measured_rate(SpikeCamera.preset("ideal").simulate(still, duration_us=100_000))
    score = (found.value - still) / found.error
    assert 0.8 < score.std() < 1.2
    assert np.abs(score).max() < 3  # the difference of two uniform numbers is bounded


def test_a_pixel_that_hardly_fires_has_an_error_of_a_spike():
    still = np.array([[0.0, 0.0005] * 8], np.float32)
    found = measured_rate(SpikeCamera.preset("ideal").simulate(still, duration_us=100_000))
    np.testing.assert_allclose(found.error, 1 / 2000)
    assert (found.value[0, ::2] == 0).all()


def test_what_cannot_be_calibrated(recordings):
    dark, light = recordings
    with pytest.raises(ValueError, match="one or two"):
        calibrate_spikes(dark, [])
    with pytest.raises(ValueError, match="above 0"):
        calibrate_spikes(dark, [(light[0][0], 0.0)])
    with pytest.raises(ValueError, match="different luminance"):
        calibrate_spikes(dark, [(light[0][0], 0.5), (light[1][0], 0.5)])
    with pytest.raises(ValueError, match="brighter"):
        calibrate_spikes(light[1][0], [(dark, 1.0)])
    other = SpikeCamera.preset("ideal").simulate(np.zeros((8, 8), np.float32), duration_us=1000)
    with pytest.raises(ValueError, match="height, width"):
        calibrate_spikes(other, light)


def measured_maps(tmp_path, **changes):
    """Maps as RSIR's procedure makes them of a camera with a known response and dark current."""
    rng = np.random.default_rng(3)
    response, dark_lux = rng.uniform(0.8, 1.2, (6, 9)), rng.uniform(1, 20, (6, 9))
    interval = 1500 / (response * (335 + dark_lux))
    relative = (interval * (335 + dark_lux))[0, 0] / (interval * (335 + dark_lux))
    path = tmp_path / "data.npz"
    np.savez(path, **({"D_light": interval, "Nd": dark_lux, "Nl": relative} | changes))
    return path, interval, dark_lux


def test_measured_maps_load_as_a_camera(tmp_path):
    """Under 335 lux the camera has the intervals that were measured, and in the dark those that the algebra gives."""
    path, interval, dark_lux = measured_maps(tmp_path)
    camera = camera_of_maps(path, SpikeCamera.preset("ideal"))
    maps = pixel_maps(camera, 6, 9)
    dark_interval = interval * (335 + dark_lux) / dark_lux
    np.testing.assert_allclose(maps.dark, 1 / (1 + dark_interval), rtol=1e-5)
    luminance = (1 / (1 + interval) - maps.dark).mean()
    np.testing.assert_allclose(maps.gain * luminance + maps.dark, 1 / (1 + interval), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"Nl": np.ones((6, 9))}, "Nl that follows"),
        ({"Nd": np.ones((6, 8))}, "one size"),
        ({"Nd": np.zeros((6, 9))}, "values above 0 in Nd"),
        ({"Nd": np.ones((6, 9), complex)}, "real numbers, got complex128"),
    ],
)
def test_maps_that_disagree(tmp_path, changes, words):
    path, _, _ = measured_maps(tmp_path, **changes)
    with pytest.raises(ValueError, match=rf"data\.npz.*{words}"):
        camera_of_maps(path, SpikeCamera())


def test_maps_of_another_kind(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.ones(3))
    with pytest.raises(ValueError, match=r"other\.npz.*D_light"):
        camera_of_maps(tmp_path / "other.npz", SpikeCamera())
    np.save(tmp_path / "one.npy", np.ones((3, 4)))
    with pytest.raises(ValueError, match=r"one\.npy.*D_light.*a single array"):
        camera_of_maps(tmp_path / "one.npy", SpikeCamera())


@pytest.mark.slow
def test_noise_is_found_again():
    """What an interval varies by, 1 / electrons + 2 jitter^2, within a quarter."""
    light = np.linspace(0.1, 0.5, 60, dtype=np.float32)[None].repeat(150, 0)
    true = SpikeCamera(electrons_per_spike=8000.0, threshold_noise=0.004)
    found = fit_noise(SpikeCamera(), true.simulate(light, duration_us=25_000, seed=11))
    jitter = found.threshold_noise
    second_moment = jitter.mean**2 * np.exp(jitter.spread**2)
    assert 1 / found.electrons_per_spike + 2 * second_moment == pytest.approx(1 / 8000 + 2 * 0.004**2, rel=0.25)


def test_noise_needs_pixels_that_fire_and_are_still():
    dark = SpikeCamera.preset("ideal").simulate(np.zeros((8, 8), np.float32), duration_us=10_000)
    with pytest.raises(ValueError, match="at least 16 pixels with three spikes in 200 planes, got 0"):
        fit_noise(SpikeCamera(), dark)
    with pytest.raises(ValueError, match="at least 16 still pixels, got 0: all else moves"):
        fit_noise(SpikeCamera(), dark, np.zeros((8, 8), bool))


@pytest.fixture
def brief(monkeypatch):
    """Fits of a few simulations."""
    monkeypatch.setattr(noise_fit, "EVALUATIONS", 5)


@pytest.fixture(scope="module")
def still():
    light = np.linspace(0.1, 0.5, 60, dtype=np.float32)[None].repeat(20, 0)
    return SpikeCamera(readout_hz=40_000.0).simulate(light, duration_us=5_000)


def test_noise_is_fitted_to_a_bounded_part_of_a_recording(brief, still, monkeypatch):
    monkeypatch.setattr(noise_fit, "MOST_PLANES", 120)
    monkeypatch.setattr(noise_fit, "MOST_PIXELS", 300)
    assert fit_noise(SpikeCamera(), still) == fit_noise(SpikeCamera(), still[:120])
    simulated = []
    monkeypatch.setattr(SpikeCamera, "simulate", lambda self, light, **options: simulated.append(light.size) or still)
    fit_noise(SpikeCamera(), still)
    assert set(simulated) == {512}  # 300 pixels in rows of 512


def test_noise_tells_its_progress(brief, still):
    told = []

    def show(simulations):
        for each in simulations:
            told.append(each)
            yield each

    fit_noise(SpikeCamera(), still, show=show)
    assert told == [0, 1, 2, 3, 4]


def test_noise_is_fitted_beside_read_noise_of_each_pixel(brief, still):
    even, mapped = SpikeCamera(read_noise=0.01), SpikeCamera(read_noise=np.full((20, 60), 0.01, np.float32))
    assert fit_noise(even, still).threshold_noise == fit_noise(mapped, still).threshold_noise
    with pytest.raises(ValueError, match="map's size"):
        fit_noise(SpikeCamera(read_noise=np.ones((3, 8), np.float32)), still)


def test_command_writes_a_camera_that_simulates(command, recordings, tmp_path):
    dark, light = recordings
    for name, stream in (("dark", dark), ("low", light[0][0]), ("high", light[1][0])):
        write_spikes(tmp_path / f"{name}.h5", stream)
    flats = ["--flat", tmp_path / "low.h5", tmp_path / "high.h5", "--luminance", *map(str, LIGHTS)]
    said = command("eventsim", "calibrate", "spikes", tmp_path / "mine.yaml", "--dark", tmp_path / "dark.h5", *flats)
    assert "curvature" in said.stdout
    import cv2

    cv2.imwrite(str(tmp_path / "still.png"), np.full(SIZE, 128, np.uint8))
    out = tmp_path / "out.h5"
    command("eventsim", "spikes", tmp_path / "still.png", out, "--camera", tmp_path / "mine.yaml", "--duration", "0.01")
    assert len(open_spikes(out)) == 200


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.yaml"], "--still"),
        (["a.txt", "--maps", "x.npz"], ".yaml"),
        (["a.yaml", "--dark", "x.h5"], "--flat"),
        (["a.yaml", "--dark", "x.h5", "--flat", "y.h5"], "--luminance"),
        (["a.yaml", "--dark", "x.h5", "--flat", "y.h5", "--luminance", "1", "--maps", "m.npz"], "either"),
    ],
)
def test_command_says_what_is_missing(command, arguments, words):
    said = command("eventsim", "calibrate", "spikes", *arguments)
    assert said.returncode == 1
    assert words in said.stderr
    assert len(said.stderr.splitlines()) == 1


def test_a_saturated_flat_is_refused(recordings):
    dark, _ = recordings
    bright = SpikeCamera.preset("ideal").simulate(np.full(SIZE, 3.0, np.float32), duration_us=PLANES * 50)
    with pytest.raises(ValueError, match="saturate"):
        calibrate_spikes(dark, [(bright, 3.0)])


def test_what_the_maps_contain_already_is_switched_off(recordings):
    dark, light = recordings
    base = SpikeCamera(false_spike_interval=100.0, dead_time_us=1.0, reset="hard", hot_share=0.1)
    found = calibrate_spikes(dark, light).camera(base)
    assert (found.false_spike_interval, found.dead_time_us, found.reset, found.hot_share) == (0.0, 0.0, "soft", 0.0)


def test_fitted_camera_has_the_recordings_size_and_clock(brief, still):
    found = fit_noise(SpikeCamera(), still)
    assert (found.height, found.width, found.readout_hz) == (20, 60, 40_000.0)


def test_command_never_writes_over_what_it_reads(command, recordings, tmp_path):
    dark, light = recordings
    write_spikes(tmp_path / "dark.h5", dark)
    write_spikes(tmp_path / "a_maps.npz", light[0][0])
    before = (tmp_path / "a_maps.npz").read_bytes()
    flats = ["--flat", tmp_path / "a_maps.npz", "--luminance", "0.2", "--overwrite"]
    said = command("eventsim", "calibrate", "spikes", tmp_path / "a.yaml", "--dark", tmp_path / "dark.h5", *flats)
    assert said.returncode == 1
    assert "overwrites no input" in said.stderr
    assert (tmp_path / "a_maps.npz").read_bytes() == before
    (tmp_path / "b_maps.npz").symlink_to(tmp_path / "dark.h5")
    said = command("eventsim", "calibrate", "spikes", tmp_path / "b.yaml", "--dark", tmp_path / "dark.h5", *flats)
    assert "b_maps.npz: expected an output that overwrites no input" in said.stderr
    (tmp_path / "c.yaml").write_text("height: 5")
    given = ["--base", tmp_path / "c.yaml", "--still", tmp_path / "dark.h5", "--overwrite"]
    assert (
        "c.yaml: expected an output" in command("eventsim", "calibrate", "spikes", tmp_path / "c.yaml", *given).stderr
    )
    assert (tmp_path / "c.yaml").read_text() == "height: 5"


def test_command_fits_a_camera_of_the_recordings_size_and_clock(command, still, tmp_path):
    write_spikes(tmp_path / "still.h5", still)
    said = command("eventsim", "calibrate", "spikes", tmp_path / "mine.yaml", "--still", tmp_path / "still.h5")
    assert "noise: 40 simulations" in said.stderr
    found = SpikeCamera.preset(str(tmp_path / "mine.yaml"))
    assert (found.height, found.width, found.readout_hz) == (20, 60, 40_000.0)


def test_command_names_the_recording_at_fault(command, recordings, still, tmp_path):
    dark, light = recordings
    moving = np.random.default_rng(0).random((20, 60)) < np.linspace(0, 1, 400)[:, None, None] ** 2
    streams = {"dark": dark[:500], "low": light[0][0][:500], "other": still, "full": SpikeCamera().simulate(
        np.full(SIZE, 2, np.float32), duration_us=5000), "moving": SpikeStream.from_planes(moving, 20_000)}  # fmt: skip
    for name, stream in streams.items():
        write_spikes(tmp_path / f"{name}.h5", stream)
    np.savez(tmp_path / "maps.npz", response=np.ones(SIZE))
    (tmp_path / "base.yaml").write_text("response: {file: maps.npz}")

    def fault(*arguments):
        said = command("eventsim", "calibrate", "spikes", tmp_path / "mine.yaml", *arguments, "--quiet")
        assert said.returncode == 1
        assert len(said.stderr.splitlines()) == 1
        return said.stderr

    flats = ["--dark", tmp_path / "dark.h5", "--luminance", "1", "--flat"]
    assert "other.h5: expected 60x40 pixels at 20000 Hz, as" in fault(*flats, tmp_path / "other.h5")
    assert "full.h5: expected flats in which at most 1%" in fault(*flats, tmp_path / "full.h5")
    assert "moving.h5: expected at least 16 still pixels" in fault("--still", tmp_path / "moving.h5")
    based = fault("--base", tmp_path / "base.yaml", "--still", tmp_path / "other.h5")
    assert "other.h5: expected 60x40 pixels at 20000 Hz" in based
    assert not (tmp_path / "mine.yaml").exists()


def test_command_looks_at_its_output_before_it_measures(command, tmp_path):
    (tmp_path / "file").write_text("")
    said = command("eventsim", "calibrate", "spikes", tmp_path / "file/mine.yaml", "--still", tmp_path / "none.h5")
    assert "file/mine.yaml" in said.stderr
    (tmp_path / "mine_maps.npz").write_text("")
    said = command("eventsim", "calibrate", "spikes", tmp_path / "mine.yaml", "--still", tmp_path / "none.h5")
    assert "mine_maps.npz: already exists" in said.stderr


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04torn"])
def test_damaged_maps_are_named(tmp_path, content):
    (tmp_path / "data.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"data\.npz"):
        camera_of_maps(tmp_path / "data.npz", SpikeCamera())
    (tmp_path / "mine.yaml").write_text("response: {file: data.npz}\n")
    with pytest.raises(ValueError, match=r"data\.npz"):
        SpikeCamera.preset(str(tmp_path / "mine.yaml"))
