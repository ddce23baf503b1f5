"""Pictures and movies: read as they are asked for, on one scale, and whole on disk or not there."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from eventsim import view
from eventsim.errors import InputError, OutputExistsError
from eventsim.light.frames import linear_to_srgb
from eventsim.streams.events import Events
from eventsim.streams.reconstruct import reconstruct_tfi, reconstruct_tfstp
from eventsim.streams.spikes import SpikeStream
from eventsim.view import (
    events_movie,
    events_picture,
    is_movie,
    luminance_picture,
    spikes_movie,
    write_movie,
    write_picture,
)

RED, BLUE, WHITE = (200, 30, 30), (30, 60, 200), (255, 255, 255)


def events(*times: int) -> Events:
    x = np.arange(len(times), dtype=np.uint16)
    return Events(np.array(times), x, x, x % 2 == 0, 8, 6)


def pictures(count: int, height: int = 48, width: int = 64):
    for index in range(count):
        yield np.full((height, width, 3), 20 * index, np.uint8)


# --- what is shown


def test_events_by_the_last_of_each_pixel() -> None:
    picture = events_picture(events(1, 2))
    assert [tuple(picture[i, i]) for i in range(3)] == [RED, BLUE, WHITE]


def test_luminance_is_encoded_and_saturates_at_white() -> None:
    picture = luminance_picture(np.array([[0, 0.25, 0.5, 3]], np.float32), white=0.5)
    expected = np.round(255 * linear_to_srgb(np.array([0, 0.5, 1, 1])))
    assert np.array_equal(picture, np.repeat(expected[None, :, None], 3, axis=2))


class Recorded:
    """Counts the windows that are read."""

    def __init__(self, held: Events) -> None:
        self.held, self.windows = held, []

    def window(self, t0: int, t1: int) -> Events:
        self.windows.append((t0, t1))
        return self.held.window(t0, t1)


def test_events_are_read_window_by_window_and_from_the_start_asked_for() -> None:
    source = Recorded(events(100, 130, 150))
    movie = events_movie(source, 90, 151, window_us=20)
    assert source.windows == []
    assert tuple(next(movie)[0, 0]) == RED
    assert source.windows == [(90, 110)]
    assert [tuple(picture[1, 1]) for picture in movie] == [WHITE, BLUE, WHITE]
    assert source.windows[-1] == (150, 170)


class Packed(np.ndarray):
    """Notes the slices of planes that are read."""

    read: list[slice]

    def __getitem__(self, key):
        if isinstance(key, slice):
            type(self).read.append(key)
        return np.asarray(self)[key]


def test_spikes_are_read_window_by_window_on_one_scale() -> None:
    planes = np.zeros((1200, 4, 8), np.uint8)
    planes[::4, :, :4], planes[600::2, :, 4:] = 1, 1
    Packed.read = []
    movie = spikes_movie(
        SpikeStream(SpikeStream.from_planes(planes, 20_000).packed.view(Packed), 4, 8, 20_000), window=12
    )
    first = next(movie)
    assert len(Packed.read) < 15
    rest = list(movie)
    assert len(rest) == 99
    # A rate of 1/2 is white, as nothing is brighter; 1/4 looks alike at the start and at the end.
    assert rest[-1][0, 7, 0] == 255
    assert rest[-1][0, 0, 0] == rest[1][0, 0, 0] < 255
    assert first[0, 7, 0] == 0


def test_a_single_window_has_a_scale_of_its_own() -> None:
    stream = SpikeStream.from_planes(np.ones((20, 4, 8), np.uint8) * (np.arange(20) % 5 == 0)[:, None, None], 20_000)
    (only,) = spikes_movie(stream, 5, 15, window=10)
    assert (only == 255).all()
    assert list(spikes_movie(stream, 15, 20, window=10)) == []


@pytest.mark.parametrize("show", ["tfi", "tfstp"])
def test_intensity_from_intervals_is_that_of_the_windows_middle_on_one_scale(show: str) -> None:
    reconstruct = {"tfi": reconstruct_tfi, "tfstp": reconstruct_tfstp}[show]
    fired = np.random.default_rng(0).random((300, 6, 8)) < 0.4
    stream = SpikeStream.from_planes(fired, 20_000)
    found = list(spikes_movie(stream, 100, 200, window=50, show=show))
    middles = [reconstruct(stream, plane) for plane in (125, 175)]
    white = max(np.percentile(each, 99.5) for each in middles)
    for picture, middle in zip(found, middles, strict=True):
        assert np.array_equal(picture, luminance_picture(middle, white))


def test_planes_are_shown_as_they_are() -> None:
    fired = np.random.default_rng(0).random((20, 6, 8)) < 0.4
    stream = SpikeStream.from_planes(fired, 20_000)
    each = list(spikes_movie(stream, 3, 9, window=1, show="planes"))
    assert np.array_equal(each, np.repeat(fired[3:9, ..., None] * np.uint8(255), 3, axis=3))
    (middle,) = spikes_movie(stream, 3, 9, window=6, show="planes")
    assert np.array_equal(middle, each[3])
    with pytest.raises(ValueError, match="expected to show one of tfp, tfi, tfstp, planes, got 'tpf'"):
        spikes_movie(stream, window=6, show="tpf")


# --- files


@pytest.mark.parametrize(("name", "movie"), [("a.png", False), ("a.JPG", False), ("a.mp4", True), ("a.gif", True)])
def test_suffixes(name: str, movie: bool) -> None:
    assert is_movie(name) is movie


@pytest.mark.parametrize("name", ["a.avi", "a", "a.txt"])
def test_other_suffixes_are_refused_with_those_that_are_known(tmp_path: Path, name: str) -> None:
    def never():
        raise AssertionError("no work before the name is right")
        yield

    for call in (
        lambda: is_movie(tmp_path / name),
        lambda: write_picture(tmp_path / name, next(pictures(1))),
        lambda: write_movie(tmp_path / name, never()),
    ):
        with pytest.raises(InputError, match=rf"{name}: expected a name that ends in one of \."):
            call()


def test_pictures_round_trip(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    write_picture(tmp_path / "a.png", picture)
    assert np.array_equal(cv2.imread(str(tmp_path / "a.png"))[..., ::-1], picture)
    with pytest.raises(OutputExistsError):
        write_picture(tmp_path / "a.png", picture)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63)])
def test_movie_holds_all_its_pictures(tmp_path: Path, height: int, width: int) -> None:
    assert write_movie(tmp_path / "a.mp4", pictures(7, height, width)) == 7
    assert cv2.VideoCapture(str(tmp_path / "a.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 7


def read_gif(path: Path) -> tuple[list[np.ndarray], list[int]]:
    done, animation = cv2.imreadanimation(str(path))
    assert done
    assert animation.loop_count == 0
    return [frame[..., 2::-1] for frame in animation.frames], [int(each) for each in animation.durations]


@pytest.mark.parametrize(("height", "width"), [(48, 64), (47, 63)])
@pytest.mark.parametrize(("fps", "total_ms"), [(30, 230), (50, 140), (12.5, 560)])
def test_gif_holds_all_its_pictures_at_their_times(
    tmp_path: Path, height: int, width: int, fps: float, total_ms: int
) -> None:
    assert write_movie(tmp_path / "a.gif", pictures(7, height, width), fps=fps) == 7
    found, durations = read_gif(tmp_path / "a.gif")
    for picture, expected in zip(found, pictures(7, height, width), strict=True):
        assert np.abs(picture.astype(int) - expected).max() <= 1
    assert sum(durations) == total_ms
    assert max(durations) - min(durations) <= 10


def test_gif_keeps_grey_levels_spikes_and_the_colours_of_events(tmp_path: Path) -> None:
    """Within a level: OpenCV's palette of a picture has at most 256 colours, of every second level."""
    ramp = np.repeat(np.tile(np.arange(256, dtype=np.uint8), (20, 1))[..., None], 3, axis=2)
    write_movie(tmp_path / "a.gif", [ramp, np.roll(ramp, 9, axis=1), ramp])
    for picture, expected in zip(read_gif(tmp_path / "a.gif")[0], [ramp, np.roll(ramp, 9, axis=1), ramp], strict=True):
        assert np.abs(picture.astype(int) - expected).max() <= 1
        assert (picture == picture[..., :1]).all()
    coloured = np.array([RED, BLUE, WHITE, (0, 0, 0)], np.uint8)[np.random.default_rng(0).integers(0, 4, (30, 40))]
    write_movie(tmp_path / "b.gif", [coloured, coloured])
    assert all(np.array_equal(picture, coloured) for picture in read_gif(tmp_path / "b.gif")[0])


def test_gif_that_memory_could_not_hold_is_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(view, "_GIF_PIXELS", 48 * 64 * 4 + 7)
    assert write_movie(tmp_path / "a.gif", pictures(4), total=4) == 4
    shown = pictures(9)
    message = r"b\.gif: expected at most 4 pictures of this size in a GIF \(an \.mp4 .*, found"
    with pytest.raises(InputError, match=message + " 9"):
        write_movie(tmp_path / "b.gif", shown, total=9)
    assert len(list(shown)) == 8
    with pytest.raises(InputError, match=message + " more"):
        write_movie(tmp_path / "b.gif", pictures(9))
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.parametrize("fps", [50.5, 0, -1])
def test_gif_has_at_most_50_pictures_a_second(tmp_path: Path, fps: float) -> None:
    with pytest.raises(InputError, match=rf"expected at most 50 pictures a second in a GIF, found {fps:g}"):
        write_movie(tmp_path / "a.gif", pictures(3), fps=fps)


def test_gif_needs_an_opencv_that_writes_animations(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delattr(cv2, "imwriteanimation")
    with pytest.raises(InputError, match=r"expected OpenCV 4\.11 or later for a GIF .*, found OpenCV \d"):
        write_movie(tmp_path / "a.gif", pictures(3))
    assert list(tmp_path.iterdir()) == []


def test_gif_that_was_cut_short_is_told(tmp_path: Path, monkeypatch) -> None:
    def short(path: str, *rest: object) -> bool:
        done = whole(path, *rest)
        data = Path(path).read_bytes()
        Path(path).write_bytes(data[: len(data) // 2])
        return done

    whole = cv2.imwriteanimation
    monkeypatch.setattr(cv2, "imwriteanimation", short)
    with pytest.raises(OSError, match=r"a\.gif: 7 pictures were written, \d can be read back"):
        write_movie(tmp_path / "a.gif", pictures(7))
    monkeypatch.setattr(cv2, "imwriteanimation", lambda *_: False)
    with pytest.raises(OSError, match=r"a\.gif: OpenCV cannot encode"):
        write_movie(tmp_path / "a.gif", pictures(7))
    assert list(tmp_path.iterdir()) == []


def test_existing_movie_is_noticed_before_any_picture_is_made(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("mine")
    shown = pictures(2)
    with pytest.raises(OutputExistsError):
        write_movie(tmp_path / "a.mp4", shown)
    assert len(list(shown)) == 2


@pytest.mark.parametrize("name", ["a.mp4", "a.gif"])
def test_movies_of_no_pictures_or_of_several_sizes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        write_movie(tmp_path / name, [])
    with pytest.raises(ValueError, match=r"one size, \(48, 64, 3\), got \(64, 48, 3\) at 2"):
        write_movie(tmp_path / name, [*pictures(2), *pictures(1, 64, 48)])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_movie_that_was_cut_short_is_told(tmp_path: Path, monkeypatch, capfd, kept: float) -> None:
    """As a full disk does it: without a word from OpenCV."""

    class Short:
        fourcc = cv2.VideoWriter.fourcc

        def __init__(self, path: str, *rest: object) -> None:
            self.path, self.whole = Path(path), opened(path, *rest)
            self.isOpened, self.write = self.whole.isOpened, self.whole.write

        def release(self) -> None:
            self.whole.release()
            data = self.path.read_bytes()
            self.path.write_bytes(data[: int(kept * len(data))])

    opened = cv2.VideoWriter
    monkeypatch.setattr(cv2, "VideoWriter", Short)
    with pytest.raises(OSError, match=r"a\.mp4: 7 pictures were written, 0 can be read back"):
        write_movie(tmp_path / "a.mp4", pictures(7))
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 400), (64, 1)])
def test_mp4_less_than_two_pixels_high_or_wide_is_refused(tmp_path: Path, height: int, width: int) -> None:
    with pytest.raises(
        InputError, match=rf"a\.mp4: expected pictures of at least 2x2 pixels .*, found {width}x{height}"
    ):
        write_movie(tmp_path / "a.mp4", pictures(3, height, width))
    assert list(tmp_path.iterdir()) == []
    assert write_movie(tmp_path / "a.gif", pictures(3, height, width)) == 3
    assert write_movie(tmp_path / "b.mp4", pictures(3, 2, 2)) == 3
