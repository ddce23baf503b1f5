"""Frames from folders, pictures, videos and arrays: light, order, time, size, and every bad input by name."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsim.errors import InputError
from eventsim.light.frames import Frames, as_frames, checked, linear_to_srgb, read_frames, srgb_to_linear


def textured(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def write(path: Path, image: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), image)
    return path


def write_video(path: Path, frames: int = 12, fps: float = 50.0) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), fps, (64, 48))
    for index in range(frames):
        writer.write(textured(48, 64, index))
    writer.release()
    return path


# --- light


def test_srgb_hits_the_standard_values() -> None:
    assert srgb_to_linear(np.array([0.0, 0.04045, 0.5, 1.0])) == pytest.approx([0, 0.0031308, 0.2140411, 1], rel=1e-5)


@given(st.floats(0, 1))
def test_srgb_and_back(light: float) -> None:
    assert srgb_to_linear(linear_to_srgb(np.array(light))) == pytest.approx(light, abs=1e-6)


def test_srgb_keeps_the_float_type() -> None:
    assert srgb_to_linear(np.ones(2, np.float32)).dtype == linear_to_srgb(np.ones(2, np.float32)).dtype == np.float32


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_are_decoded_unless_linear(dtype: type, top: int) -> None:
    codes = np.array([[0, top // 2, top]], dtype)
    (_, decoded), *_ = read_frames(codes)
    (_, linear), *_ = read_frames(codes, linear=True)
    assert decoded[0] == pytest.approx(srgb_to_linear(codes[0] / top), abs=1e-6)
    assert linear[0] == pytest.approx(codes[0] / top, abs=1e-6)
    assert decoded.dtype == linear.dtype == np.float32


def test_colours_are_weighted_by_rec_709_after_decoding() -> None:
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [128, 128, 128]]], np.uint8)
    (_, light), *_ = read_frames(colours)
    grey = float(srgb_to_linear(np.array(128 / 255)))
    assert light[0] == pytest.approx([0.2126, 0.7152, 0.0722, 1, grey], abs=1e-6)


def test_pictures_are_blue_green_red_on_disk_and_arrays_red_green_blue(tmp_path: Path) -> None:
    image = textured()
    (_, from_file), *_ = read_frames(write(tmp_path / "a.png", image))
    (_, from_array), *_ = read_frames(np.ascontiguousarray(image[..., ::-1]))
    assert np.array_equal(from_file, from_array)


def test_floats_are_linear_and_may_exceed_saturation(tmp_path: Path) -> None:
    image = np.full((8, 9), 2.5, np.float32)
    for path in (write(tmp_path / "a.tiff", image), write(tmp_path / "b.hdr", np.repeat(image[..., None], 3, 2))):
        (_, light), *_ = read_frames(path)
        assert light == pytest.approx(image, rel=1e-2)


def test_alpha_is_dropped_and_16_bits_are_kept(tmp_path: Path) -> None:
    image = textured().astype(np.uint16) * 257
    image[0, 0] = 1
    with_alpha = np.dstack([image, np.full(image.shape[:2], 100, np.uint16)])
    (_, plain), *_ = read_frames(write(tmp_path / "a.png", image))
    (_, dropped), *_ = read_frames(write(tmp_path / "b.png", with_alpha))
    assert np.array_equal(plain, dropped)
    assert plain[0, 0] == pytest.approx(1 / 65535 / 12.92, rel=1e-4)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_negative_or_infinite_light_is_refused(bad: float) -> None:
    array = np.ones((2, 4, 5))
    array[1, 2, 3] = bad
    with pytest.raises(InputError, match=r"array, frame 1: expected finite luminance"):
        list(read_frames(array))


# --- arrays


@pytest.mark.parametrize(
    ("shape", "count", "size"),
    [
        ((5, 7), 1, (5, 7)),
        ((4, 5, 7), 4, (5, 7)),
        ((5, 7, 3), 1, (5, 7)),
        ((5, 7, 4), 1, (5, 7)),
        ((4, 5, 7, 3), 4, (5, 7)),
        ((4, 5, 3, 1), 4, (5, 3)),
    ],
)
def test_arrays_by_shape(shape: tuple[int, ...], count: int, size: tuple[int, int]) -> None:
    frames = read_frames(np.ones(shape, np.float32), fps=1000)
    assert (len(frames), frames.height, frames.width, frames.fps) == (count, *size, 1000)
    assert [(t, frame.shape) for t, frame in frames] == [(1000 * i, size) for i in range(count)]


@pytest.mark.parametrize("array", [np.ones(3), np.ones((2, 3, 4, 5)), np.ones((0, 3, 4)), np.ones((2, 3), np.int64)])
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^array: expected"):
        read_frames(array)


@given(st.floats(0.1, 1e5), st.integers(1, 50))
def test_times_are_rounded_from_the_index_not_summed(fps: float, count: int) -> None:
    times = [t for t, _ in read_frames(np.zeros((count, 2, 2), np.uint8), fps=fps)]
    assert times == [round(i * 1e6 / fps) for i in range(count)]


def test_frames_can_be_iterated_again_and_share_no_memory_with_the_source() -> None:
    array = np.random.default_rng(0).random((3, 4, 5)).astype(np.float32)
    frames = read_frames(array)
    for _, light in frames:
        light[:] = -1
    assert all(np.array_equal(light, original) for (_, light), original in zip(frames, array, strict=True))


# --- size


def test_size_covers_and_cuts_the_middle() -> None:
    array = np.zeros((100, 200), np.float32)
    array[:, 100:] = 1
    (_, light), *_ = read_frames(array, size=(50, 50))
    assert light.shape == (50, 50)
    assert np.array_equal(light, np.repeat(np.repeat([[0.0, 1.0]], 25, axis=1), 50, axis=0))


def test_circles_stay_round() -> None:
    y, x = np.mgrid[:120, :200]
    disc = (((x - 99.5) ** 2 + (y - 59.5) ** 2) < 40**2).astype(np.float32)
    for size in ((60, 60), (60, 90), (240, 200)):
        (_, light), *_ = read_frames(disc, size=size)
        inside = light > 0.5
        assert abs(int(inside.any(axis=0).sum()) - int(inside.any(axis=1).sum())) <= 1


def test_shrinking_keeps_the_mean_light() -> None:
    light = np.random.default_rng(0).random((64, 96)).astype(np.float32)
    (_, small), *_ = read_frames(light, size=(16, 24))
    assert small.mean() == pytest.approx(light.mean(), rel=1e-4)


@pytest.mark.parametrize("fps", [0, -5.0, float("nan"), float("inf")])
@pytest.mark.parametrize("kind", ["array", "folder", "picture", "video"])
def test_frame_rates_must_be_positive(tmp_path: Path, fps: float, kind: str) -> None:
    picture, video = write(tmp_path / "a.png", textured()), tmp_path / "a.avi"
    video.write_bytes(b"not even looked at")
    source = {"array": np.ones((2, 3, 3)), "folder": tmp_path, "picture": picture, "video": video}[kind]
    with pytest.raises(ValueError, match="expected a positive frame rate"):
        read_frames(source, fps=fps)


def test_size_must_be_positive() -> None:
    with pytest.raises(ValueError, match="at least 1x1"):
        read_frames(np.ones((3, 3)), size=(0, 4))


# --- folders and pictures


def test_folder_in_natural_order_with_other_files_left_alone(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write(tmp_path / f"frame{number}.png", np.full((4, 5), number * 20, np.uint8))
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".hidden.png").write_text("x")
    frames = read_frames(tmp_path, linear=True)
    assert [round(float(light[0, 0]) * 255) for _, light in frames] == [20, 40, 200]
    assert (len(frames), frames.fps) == (3, 30)
    assert [t for t, _ in frames] == [0, 33333, 66667]


def test_one_picture_is_a_still(tmp_path: Path) -> None:
    frames = read_frames(write(tmp_path / "a.jpg", textured()))
    assert len(frames) == 1
    assert next(iter(frames))[0] == 0


def test_missing_source(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: expected an image folder, a picture or a video, found nothing"):
        read_frames(tmp_path / "nowhere")


def test_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"expected pictures .*, found none among 1 files"):
        read_frames(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_mixed_sizes_fail_at_once_and_name_the_first_that_differs(tmp_path: Path, suffix: str) -> None:
    for number, width in enumerate((60, 60, 50, 40)):
        write(tmp_path / f"{number}.{suffix}", textured(40, width))
    with pytest.raises(InputError, match=rf"2\.{suffix}: expected 40x60 .* as in 0\.{suffix}.*, found 40x50"):
        read_frames(tmp_path)
    assert [light.shape for _, light in read_frames(tmp_path, size=(20, 20))] == [(20, 20)] * 4


def test_mixed_sizes_of_other_formats_fail_when_reached(tmp_path: Path) -> None:
    write(tmp_path / "0.bmp", textured(40, 60))
    write(tmp_path / "1.bmp", textured(60, 40))
    with pytest.raises(InputError, match=r"1\.bmp: expected 40x60 .*, found 60x40"):
        list(read_frames(tmp_path))


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "webp", "bmp"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_truncated_pictures(tmp_path: Path, suffix: str, share: float, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / f"a.{suffix}", textured(200, 300))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=rf"a\.{suffix}: expected a .*picture"):
        read_frames(path)
    assert suffix not in ("png", "jpg", "tif") or capfd.readouterr().err == ""


THUMBNAIL = b"\xff\xd8\xff\xd9"


def jpeg_with_thumbnail(*options: int) -> bytes:
    """A JPEG whose first segment holds the end mark of a picture of its own."""
    done, data = cv2.imencode(".jpg", textured(200, 300), options)
    assert done
    segment = b"\xff\xe1" + (len(THUMBNAIL) + 2).to_bytes(2, "big") + THUMBNAIL
    return bytes(data)[:2] + segment + bytes(data)[2:]


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 3)])
def test_a_jpeg_ends_where_it_says_whatever_is_inside_or_follows(tmp_path: Path, options: tuple[int, ...]) -> None:
    whole, path = jpeg_with_thumbnail(*options), tmp_path / "a.jpg"
    film = np.random.default_rng(0).integers(0, 256, 500_000).astype(np.uint8).tobytes()
    for trailer in (b"", bytes(10_000), film):
        path.write_bytes(whole + trailer)
        assert read_frames(path).height == 200
    for length in (-1, -2, -100, len(whole) // 2, 300, 20):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.jpg: expected a whole picture, found a truncated one"):
            read_frames(path)


def test_a_picture_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("this is not a picture")
    with pytest.raises(InputError, match=r"a\.png: expected a picture that OpenCV can decode"):
        read_frames(tmp_path / "a.png")


def test_a_fault_in_a_long_folder_is_found_when_it_is_reached(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", textured())
    (tmp_path / "2.png").write_bytes((tmp_path / "1.png").read_bytes()[:-20])
    frames = iter(read_frames(tmp_path))
    next(frames), next(frames)
    with pytest.raises(InputError, match=r"2\.png: expected a whole picture, found a truncated one at byte \d+"):
        next(frames)


# --- videos


def test_video_has_its_own_rate_unless_told(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi")
    frames = read_frames(path)
    assert (frames.fps, frames.count, frames.height, frames.width) == (50, 12, 48, 64)
    assert [t for t, _ in frames] == [20_000 * i for i in range(12)]
    assert [t for t, _ in read_frames(path, fps=1000)] == [1000 * i for i in range(12)]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(frames, frames, strict=True))


def test_video_that_ends_early(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi")
    data = bytearray(path.read_bytes())
    for mark in (b"avih", b"strh"):  # the header promises more frames than there are
        at = data.index(mark) + 8 + (16 if mark == b"avih" else 32)
        data[at : at + 4] = struct.pack("<I", 40)
    path.write_bytes(data)
    frames = read_frames(path)
    if frames.count == 12:
        pytest.skip("this OpenCV counts the frames itself")
    with pytest.raises(InputError, match=r"a\.avi: expected 40 frames, found a video that ends early at frame 12"):
        list(frames)


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.xyz", "noname"])
def test_not_a_video(tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(b"\x00\x00\x00\x20ftypisom" + bytes(100))
    with pytest.raises(InputError, match=f"{name}: expected a picture or video that OpenCV can open"):
        read_frames(tmp_path / name)
    assert capfd.readouterr().err == ""


# --- Frames itself


def test_frames_from_a_function_are_lazy() -> None:
    made = []

    def source():
        for t_us in (0, 700, 900):
            made.append(t_us)
            yield t_us, np.zeros((2, 3), np.float32)

    frames = Frames(2, 3, 1000, source)
    assert made == []
    assert [t for t, _ in frames] == [t for t, _ in checked(frames)] == [0, 700, 900]
    assert frames.count is None
    with pytest.raises(TypeError, match="not known"):
        len(frames)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([(0, (2, 3)), (5, (3, 2))], r"2x3 .* got \(3, 2\) at 5 us"),
        ([(5, (2, 3)), (5, (2, 3))], "rise, got 5 us after 5"),
    ],
)
def test_checked_names_what_is_wrong(steps: list[tuple[int, tuple[int, int]]], message: str) -> None:
    frames = Frames(2, 3, 10, lambda: ((t, np.zeros(shape, np.float32)) for t, shape in steps))
    with pytest.raises(ValueError, match=message):
        list(checked(frames))


def test_as_frames_takes_a_still_and_refuses_a_stack() -> None:
    frames = as_frames(np.ones((4, 5), np.float32))
    assert as_frames(frames) is frames
    with pytest.raises(ValueError, match=r"read_frames\(array, fps"):
        as_frames(np.ones((2, 4, 5), np.float32))


@pytest.mark.parametrize("change", [{"height": 0}, {"width": 0}, {"fps": 0}, {"fps": float("nan")}])
def test_frames_refuse_impossible_sizes_and_rates(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Frames(**{"height": 1, "width": 1, "fps": 1, "source": lambda: iter(()), **change})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_checked_refuses_light_that_is_not_finite(bad: float) -> None:
    luminance = np.full((4, 6), 0.5, np.float32)
    luminance[2, 3] = bad
    frames = Frames(4, 6, 30.0, lambda: iter([(0, np.zeros((4, 6), np.float32)), (700, luminance)]))
    with pytest.raises(ValueError, match=r"expected finite luminance.* at 700 us"):
        list(checked(frames))
