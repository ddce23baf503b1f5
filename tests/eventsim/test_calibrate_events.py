"""Calibration of event cameras: what simulated recordings were made with is found again within the stated errors."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import yaml

from eventsim import EventCamera, Events, write_events
from eventsim.cameras.calibrate_events.camera import calibrated_camera
from eventsim.cameras.calibrate_events.counts import count_events
from eventsim.cameras.calibrate_events.pixels import Number, drawn_to_mean, reliable_map, shared_spread
from eventsim.cameras.calibrate_events.static import (
    count_static,
    dead_share,
    refractory_edge,
    static_noise,
    unexplained_pixels,
)
from eventsim.cameras.calibrate_events.thresholds import FrameSettings, fit_thresholds
from eventsim.cameras.event_model import event_maps
from eventsim.cameras.pattern import Pattern
from eventsim.light.frames import Frames

HEIGHT, WIDTH = 72, 96
FRAME_US = 20_000
STEP_US = 2_500
ON, OFF, MISMATCH = 0.2, 0.26, 0.03
DARK = FrameSettings(dark_luminance=0.02)


def moving_texture(duration_us: int, contrast: float = 1.0, seed: int = 0) -> list[tuple[int, np.ndarray]]:
    """Texture of two sizes that sways to and fro: luminance [H, W] every 2.5 ms."""
    rng = np.random.default_rng(seed)
    fine, coarse = (
        cv2.GaussianBlur(rng.standard_normal((HEIGHT + 140, WIDTH + 240)), (0, 0), size) * size for size in (2.5, 12)
    )
    pattern = fine + coarse
    pattern = np.clip((pattern - pattern.mean()) / pattern.std(), -2.5, 1.5)
    texture = np.exp(contrast * pattern - 1.4).astype(np.float32)
    light = []
    for t_us in range(0, duration_us + 1, STEP_US):
        x, y = 120 + 90 * np.sin(5.6e-6 * t_us + 0.3), 70 + 45 * np.sin(8.2e-6 * t_us)
        light.append((t_us, cv2.warpAffine(texture, np.array([[1, 0, -x], [0, 1, -y]]), (WIDTH, HEIGHT))))
    return light


def seen(camera: EventCamera, light: list[tuple[int, np.ndarray]]) -> Events:
    frames = Frames(HEIGHT, WIDTH, 1e6 / STEP_US, lambda: iter(light), len(light))
    return camera.simulate(frames, seed=1)


def photographed(light, noise: float = 1.0, exposure=lambda index: 1.0):
    """8-bit frames with noise, every 20 ms."""
    rng = np.random.default_rng(7)
    for index, (t_us, picture) in enumerate(light[:: FRAME_US // STEP_US]):
        grey = 255 * exposure(index) * picture + noise * rng.standard_normal(picture.shape)
        yield t_us, np.clip(np.rint(grey), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def light():
    return moving_texture(1_200_000)


def camera(**changes) -> EventCamera:
    given = {"threshold_on": ON, "threshold_off": OFF, "threshold_mismatch": MISMATCH}
    return EventCamera(height=HEIGHT, width=WIDTH, **given | changes)


@pytest.fixture(scope="module")
def plain(light) -> Events:
    return seen(camera(), light)


def fitted(events, light, *, refractory_us=0.0, settings=None, **photo):
    return fit_thresholds(count_events([events], photographed(light, **photo), refractory_us=refractory_us), settings)


def near(number: Number | None, true: float, *, rel: float) -> None:
    """Within the share of the truth, and within two and a half of its own errors."""
    assert number is not None
    assert number.value == pytest.approx(true, rel=rel)
    assert abs(number.value - true) < 2.5 * number.error
    assert number.error < rel * true * 2


def test_thresholds_their_spread_and_the_dark_luminance_are_found(plain, light):
    found = fitted(plain, light)
    near(found.on, ON, rel=0.03)
    near(found.off, OFF, rel=0.03)
    near(found.spread_on, MISMATCH, rel=0.08)
    near(found.spread_off, MISMATCH, rel=0.08)
    near(found.dark_luminance, 0.02, rel=0.4)
    assert found.correlation > 0.97
    assert all(abs(level.value - 1) < 0.03 for level in found.level_scale)


def test_maps_of_the_pixels_are_found_within_their_errors(plain, light):
    found = fitted(plain, light, settings=DARK)
    maps = event_maps(camera(), HEIGHT, WIDTH)
    for pixels, true, mean, spread in (
        (found.pixels_on, maps.on, found.on, found.spread_on),
        (found.pixels_off, maps.off, found.off, found.spread_off),
    ):
        told = reliable_map(pixels, mean.value, spread)
        assert told is not None
        assert np.corrcoef(told.ravel(), true.ravel())[0, 1] > 0.97
        assert (told - true).std() < 0.3 * MISMATCH


def test_an_exposure_that_changes_does_no_harm_unless_it_is_said_to_be_fixed(plain, light):
    def breathing(index):
        return 0.8 + 0.2 * np.sin(index)

    free = fitted(plain, light, exposure=breathing, settings=DARK)
    near(free.on, ON, rel=0.05)
    near(free.off, OFF, rel=0.05)
    fixed = fitted(plain, light, exposure=breathing, settings=FrameSettings(exposure="fixed", dark_luminance=0.02))
    assert fixed.residual > 1.3 * free.residual


def test_little_contrast_gives_larger_errors_that_hold():
    flat = moving_texture(1_200_000, contrast=0.4)
    found = fitted(seen(camera(), flat), flat, settings=DARK)
    near(found.on, ON, rel=0.06)
    near(found.off, OFF, rel=0.06)
    assert found.turned > 0.4
    assert found.on.error > 0.025 * ON


def test_a_refractory_period_biases_the_thresholds_unless_it_is_known(light):
    """An event of a burst is lost with the change within it: thresholds come out too high by some 15 %."""
    events = seen(camera(refractory_us=500.0), light)
    blind, known = (fitted(events, light, settings=DARK, refractory_us=known) for known in (0.0, 500.0))
    assert 1.05 < blind.on.value / ON < 1.3
    assert known.on.value == pytest.approx(ON, rel=0.04)
    assert known.off.value == pytest.approx(OFF, rel=0.04)
    assert blind.shortest_us > 500


def test_a_filter_biases_the_thresholds(light):
    """Contrast that the pixel's filter takes away is missing from the events, and comes late: some per cent."""
    found = fitted(seen(camera(cutoff_hz=200.0), light), light, settings=DARK)
    assert 0.93 < found.on.value / ON < 1.1
    assert 0.93 < found.off.value / OFF < 1.1
    assert found.residual > 0.1  # 0.08 without


def test_noise_and_noisy_pixels_are_borne(light):
    noisy = camera(shot_noise_rate_hz=2.0, leak_rate_hz=0.2, hot_share=0.01, hot_rate_hz=300.0)
    found = fitted(seen(noisy, light), light, noise=2.0, settings=DARK)
    near(found.on, ON, rel=0.05)
    near(found.off, OFF, rel=0.05)
    near(found.spread_on, MISMATCH, rel=0.15)


def test_equal_pixels_have_no_spread(light):
    found = fitted(seen(camera(threshold_mismatch=0.0), light), light, settings=DARK)
    assert found.spread_on.value < 0.1 * MISMATCH
    assert reliable_map(found.pixels_on, found.on.value, found.spread_on) is None


def test_few_frames_give_thresholds_but_no_spread(plain, light):
    found = fitted(plain.window(0, 130_000), light[:53])
    assert found.spread_on is None
    assert found.on.value == pytest.approx(ON, rel=0.06)


def test_frames_of_something_else_are_refused(plain, light):
    other = moving_texture(1_200_000, seed=5)
    with pytest.raises(ValueError, match="contrast goes with the events"):
        fitted(plain, [(t_us, picture[::-1, ::-1]) for t_us, picture in other], settings=DARK)


def test_what_cannot_be_counted(plain, light):
    frames = list(photographed(light[:50]))
    with pytest.raises(ValueError, match="at least two frames, got 1"):
        count_events([plain], frames[:1])
    with pytest.raises(ValueError, match="order of time"):
        count_events([plain], frames[::-1])
    with pytest.raises(ValueError, match="96x72 pixels, got 10x10"):
        count_events([Events.empty(10, 10)], frames)
    with pytest.raises(ValueError, match="between the first and the last events, got 0"):
        count_events([Events.empty(WIDTH, HEIGHT)], frames)
    with pytest.raises(ValueError, match="exposure"):
        FrameSettings(exposure="auto")


def test_counts_do_not_depend_on_the_chunks(plain, light):
    frames = list(photographed(light[:200]))
    whole = count_events([plain], frames)
    parts = count_events([plain[at : at + 7001] for at in range(0, len(plain), 7001)], frames)
    for name in ("on", "off", "total", "times_us"):
        np.testing.assert_allclose(getattr(whole, name), getattr(parts, name), rtol=1e-6)
    assert (whole.turned, whole.shortest_us) == (parts.turned, parts.shortest_us)


def test_events_between_frames_count_in_parts():
    """ON at 10, 30 and 50 ms: at 20 ms one and a half have passed since the first; then the level turns."""
    t = np.array([10, 30, 50, 70]) * 1000
    events = Events(t, np.zeros(4, int), np.zeros(4, int), np.array([True, True, True, False]), 1, 1)
    grey = np.full((1, 1), 100, np.uint8)
    found = count_events([events], [(t_us, grey) for t_us in (0, 15_000, 40_000, 60_000, 80_000)])
    assert found.times_us.tolist() == [15_000, 40_000, 60_000]
    np.testing.assert_allclose(found.on[:2, 0, 0], [0.25, 1.5])
    np.testing.assert_allclose(found.off[:, 0, 0], [0, 0, 0.25], atol=1e-6)
    assert found.on[2, 0, 0] > 2.4
    assert found.total.ravel().tolist() == [1, 3]


def test_the_spread_that_halves_share_holds_no_noise():
    rng = np.random.default_rng(0)
    true = rng.normal(0, 0.5, 20_000)
    found = shared_spread(true + rng.standard_normal(20_000), true + rng.standard_normal(20_000))
    near(found, 0.5, rel=0.05)
    none = shared_spread(*rng.standard_normal((2, 20_000)))
    assert none.value < 3 * none.error
    assert shared_spread(true[:50], true[:50]) is None


def test_what_is_noise_is_drawn_to_the_mean():
    from eventsim.cameras.calibrate import Estimate

    pixels = Estimate(np.array([[1.5, 1.5, np.nan]]), np.array([[0.0, 0.5, np.nan]]))
    np.testing.assert_allclose(drawn_to_mean(pixels, 1.0, 0.5), [[1.5, 1.25, 1.0]])


# --- a still scene

SECONDS, SIZE = 100, (64, 80)
STILL = {
    "threshold_on": 0.2,
    "leak_rate_hz": Pattern(mean=0.5, spread=0.2),
    "shot_noise_rate_hz": Pattern(mean=0.4, spread=0.2),
    "hot_share": 0.01,
    "hot_rate_hz": 30.0,
    "refractory_us": 1000.0,
}


def still(luminance: float = 0.3, **changes) -> tuple[EventCamera, Events]:
    pixel = EventCamera(height=SIZE[0], width=SIZE[1], **STILL | changes)
    picture = np.full(SIZE, luminance, np.float32)
    frames = Frames(*SIZE, 1.0, lambda: ((t * 1_000_000, picture) for t in range(SECONDS + 1)), SECONDS + 1)
    return pixel, pixel.simulate(frames, seed=3)


@pytest.fixture(scope="module")
def static():
    return still()


def noise_of(events: Events, luminance: float = 0.3):
    half = len(events) // 2
    return static_noise(count_static([events[:half], events[half:]], (0, SECONDS * 1_000_000)), luminance)


def test_leak_shot_noise_and_noisy_pixels_are_found(static):
    pixel, events = static
    found = noise_of(events)
    true = event_maps(pixel, *SIZE)
    hot = true.shot > 20e-6
    near(found.leak_rate_hz, 0.5, rel=0.03)
    near(found.leak_spread, 0.2, rel=0.3)
    near(found.shot_noise_rate_hz, 0.4, rel=0.03)
    near(found.shot_spread, 0.2, rel=0.25)
    assert found.hot_share.value == hot.mean()
    near(found.hot_rate_hz, 30.0, rel=0.08)
    np.testing.assert_array_equal(found.hot, hot)
    near(found.refractory_us, 1000.0, rel=0.03)


def test_shot_noise_is_that_in_darkness_whatever_the_light(static):
    _, dark = still(0.0)
    near(noise_of(dark, 0.0).shot_noise_rate_hz, 0.4, rel=0.03)
    bright = noise_of(static[1], 0.3).shot_noise_rate_hz.value
    assert noise_of(static[1], 0.0).shot_noise_rate_hz.value == pytest.approx(bright * (1 - 0.75 * 0.3), rel=1e-6)


def test_a_leak_behind_frequent_shot_noise_is_not_told():
    _, events = still(leak_rate_hz=0.1, shot_noise_rate_hz=1.0)
    found = noise_of(events)
    assert found.leak_rate_hz.value == 0
    assert 0.1 < found.leak_rate_hz.error < 0.3
    assert calibrated_camera(EventCamera(), noise=found, size=SIZE).leak_rate_hz == 0


def test_equal_pixels_have_neither_spreads_nor_noisy_ones():
    _, events = still(leak_rate_hz=0.5, shot_noise_rate_hz=0.4, hot_share=0.0)
    found = noise_of(events)
    assert not found.hot.any()
    assert found.shot_spread.value < 3 * found.shot_spread.error
    assert found.leak_spread.value < 3 * found.leak_spread.error
    again = calibrated_camera(EventCamera(), noise=found, size=SIZE)
    assert isinstance(again.shot_noise_rate_hz, float)


def test_a_refractory_period_is_told_only_by_an_edge():
    rng = np.random.default_rng(0)

    def histogram(intervals):
        from eventsim.cameras.calibrate_events.counts import BINS, interval_bin

        return np.bincount(interval_bin(intervals.astype(np.int64)), minlength=BINS)

    noise = rng.exponential(1e6, 3_000_000)
    assert refractory_edge(histogram(noise)) is None
    near(refractory_edge(histogram(noise + 400)), 400, rel=0.03)
    assert refractory_edge(histogram(rng.gamma(6, 1000, 100_000))) is None  # a fast edge of light
    assert refractory_edge(histogram(rng.exponential(1e6, 1000) + 400)) is None


def test_dead_pixels_are_told_where_their_neighbours_have_many_events(light):
    dying = camera(dead_share=0.02)
    total = count_events([seen(dying, light[:200])], photographed(light[:200])).total.sum(axis=0)
    share, which = dead_share(total)
    true = np.isinf(event_maps(dying, HEIGHT, WIDTH).on)
    assert share is not None
    assert (which & ~true).sum() == 0
    assert share.value == pytest.approx(true.mean(), rel=0.05)
    assert dead_share(np.ones((50, 50), np.int64))[0] is None


def test_a_scene_that_hardly_speaks_is_refused():
    few = count_static([Events(np.array([5]), np.array([1]), np.array([1]), np.array([True]), 4, 4)], (0, 10))
    with pytest.raises(ValueError, match="at least 100 pixels"):
        unexplained_pixels(few)
    with pytest.raises(ValueError, match="over some time"):
        count_static([Events.empty(4, 4)], (0, 10))


# --- the command


@pytest.fixture(scope="module")
def files(tmp_path_factory, plain, light, static):
    folder = tmp_path_factory.mktemp("davis")
    write_events(folder / "moving.h5", plain)
    write_events(folder / "static.h5", static[1])
    lines = []
    for index, (t_us, picture) in enumerate(photographed(light)):
        cv2.imwrite(str(folder / f"{index}.png"), picture)
        lines.append(f"{t_us * 1e-6:.6f} {index}.png\n")
    (folder / "images.txt").write_text("".join(lines))
    (folder / "wrong.txt").write_text(lines[0])
    return folder


def test_command_writes_a_camera_that_simulates(command, files, tmp_path):
    out = tmp_path / "mine.yaml"
    given = ["--recording", files / "moving.h5", "--frames", files / "images.txt", "--quiet"]
    said = command("eventsim", "calibrate", "events", out, *given)
    assert said.returncode == 0, said.stderr
    assert "threshold ON " in said.stdout
    assert "written as a map" in said.stdout
    found = EventCamera.preset(str(out))
    assert (found.height, found.width) == (HEIGHT, WIDTH)
    assert found.threshold_on.map.mean() == pytest.approx(ON, rel=0.03)
    assert found.threshold_mismatch == 0
    record = json.loads((tmp_path / "mine.yaml.run.json").read_text())
    assert record["found"]["thresholds"]["on"]["value"] == pytest.approx(ON, rel=0.03)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.yaml", "mine.yaml.run.json", "mine_maps.npz"]
    assert len(seen(found, moving_texture(20_000))) > 1000


def test_command_takes_noise_from_a_still_scene(command, files, tmp_path):
    out = tmp_path / "mine.yaml"
    said = command("eventsim", "calibrate", "events", out, "--static", files / "static.h5", "--luminance", 0.3)
    assert said.returncode == 0, said.stderr
    assert "refractory    " in said.stdout
    settings = yaml.safe_load(out.read_text())
    assert settings["leak_rate_hz"]["mean"] == pytest.approx(0.5, rel=0.04)
    assert settings["refractory_us"] == pytest.approx(1000, rel=0.03)
    assert settings["threshold_on"] == 0.2
    assert EventCamera.preset(str(out)).height == SIZE[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.yaml"], "--static"),
        (["a.txt", "--static", "x.h5"], ".yaml"),
        (["a.yaml", "--recording", "x.h5"], "--frames"),
        (["a.yaml", "--static", "x.h5", "--luminance", "2"], "--luminance"),
        (["a.yaml", "--static", "x.h5", "--refractory-us", "-1"], "--refractory-us"),
        (["a.yaml", "--static", "x.h5", "--block-frames", "1"], "block_frames"),
        (["a.yaml", "--static", "{}/static.h5"], "--luminance, or frames"),
        (["a.yaml", "--recording", "{}/moving.h5", "--frames", "{}/wrong.txt"], "at least two frames"),
        (["{}/x.yaml", "--base", "no-such", "--static", "{}/static.h5"], "no-such"),
        (["a.yaml", "--recording", "{}/moving.h5", "--frames", "{}/images.txt", "--static", "{}/static.h5",
          "--luminance", ".3"], "96x72"),
    ],
)  # fmt: skip
def test_command_says_what_is_wrong(command, files, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    said = command("eventsim", "calibrate", "events", *(word.format(files) for word in arguments), "--quiet")
    assert said.returncode == 1
    assert words in said.stderr
    assert len(said.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
