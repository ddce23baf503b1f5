"""Which intervals and pixels the protocols choose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventsim import Events
from flownet.protocols import FOLDER, Protocol, load_protocol, protocol_names
from flownet.protocols.intervals import bag_start, select
from flownet.protocols.masks import event_picture

EPOCH = 1_506_118_000.0
WHOLE = (slice(0, 260), slice(0, 346))


@dataclass
class Stub:
    """The times of a recording: frames at 45.7 Hz, maps at 20 Hz from 5.3 s after the first frame on."""

    image_ts: np.ndarray
    flow_ts: np.ndarray
    first_event: float
    data_path: Path = Path("stub_data.hdf5")
    gt_path: Path = Path("stub_gt.hdf5")

    def __len__(self) -> int:
        return 1

    def events(self, start: int, stop: int) -> Events:
        return events([(0, 0, True)], t=round(self.first_event * 1e6))


def outdoor(frames: int = 11_937, maps: int = 5134) -> Stub:
    return Stub(EPOCH + np.arange(frames) / 45.7, EPOCH + 5.3 + np.arange(maps) / 20, EPOCH + 0.5)


def events(pixels: list[tuple[int, int, bool]], t: int = 0) -> Events:
    """Events (x, y, ON) one microsecond apart."""
    x, y, p = (np.array(column) for column in zip(*pixels, strict=True))
    times = t + np.arange(len(pixels), dtype=np.int64)
    return Events(times, x.astype(np.uint16), y.astype(np.uint16), p.astype(bool), 346, 260)


def rules(**settings: object) -> Protocol:
    return Protocol(name="mine", source="me", description="test", **settings)


# --- the files


def test_every_published_code_base_has_its_file() -> None:
    expected = "dceiflow eraft eraft20 evflownet full idnet idnet20 multicm mvsec_eval spikeflownet steflow taming"
    assert protocol_names() == expected.split()


@pytest.mark.parametrize("name", protocol_names())
def test_protocols_say_whose_they_are_and_where_numbers_come_from(name: str) -> None:
    found = load_protocol(name, "outdoor_day1")
    assert found.source
    assert found.description
    assert (FOLDER / f"{name}.toml").read_text().startswith("# ")
    assert found.doubts or name == "full"


def test_a_new_protocol_is_one_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('source = "me"\ndescription = "all"\noutlier = "> 2 px"\n[frames.default]\nimages = [3, 9]\n')
    found = load_protocol(str(path), "any")
    assert (found.name, found.outlier.px, found.frames(100, 2)) == ("mine", 2, [3, 4, 5, 6])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('source = "me"', "description"),
        ('source = "me"\ndescription = ""\nmaks = "events"', "maks"),
        ('source = "me"\ndescription = ""\nmask = "all"', "mask among none, events"),
        ('source = "me"\ndescription = ""\noutlier = "3"', "outlier rule"),
        ("source = ", "TOML"),
    ],
)
def test_a_bad_protocol_names_its_file(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f"{text}\n[frames.default]\n" if words != "TOML" else text)
    with pytest.raises(ValueError, match=rf"mine\.toml.*{words}"):
        load_protocol(str(path))


def test_a_sequence_that_a_protocol_says_nothing_of() -> None:
    with pytest.raises(ValueError, match=r"indoor_flying1.*eraft: outdoor_day1"):
        load_protocol("eraft", "indoor_flying1")


def test_an_interval_that_a_protocol_does_not_know() -> None:
    with pytest.raises(ValueError, match="eraft: expected 1, found 4"):
        select(outdoor(), load_protocol("eraft", "outdoor_day1"), 4)
    with pytest.raises(ValueError, match="found 0"):
        select(outdoor(), load_protocol("full"), 0)


# --- intervals


@pytest.mark.parametrize(
    ("name", "dt", "number", "first", "last"),
    [
        ("steflow", 1, 800, 9200, 10_899),
        ("steflow", 4, 802, 9200, 10_900),
        ("eraft", 1, 787, 10_167, 10_953),
        ("eraft20", 1, 350, 4356, 4705),
        ("idnet20", 1, 348, 4357, 4704),
        ("dceiflow", 1, 2754, 245, 2998),
        ("dceiflow", 4, 2751, 245, 2995),
    ],
)
def test_frames_of_outdoor_day1(name: str, dt: int, number: int, first: int, last: int) -> None:
    frames = load_protocol(name, "outdoor_day1").frames(11_937, dt)
    assert (len(frames), frames[0], frames[-1]) == (number, first, last)


def test_frames_indoors() -> None:
    assert load_protocol("steflow", "indoor_flying1").frames(2206, 1) == list(range(21, 2186))
    assert load_protocol("spikeflownet", "indoor_flying3").frames(100, 4) == list(range(21, 80))
    assert load_protocol("dceiflow", "indoor_flying2").frames(2206, 1) == list(range(314, 2198))


@pytest.mark.parametrize("name", ["evflownet", "idnet", "taming"])
@pytest.mark.parametrize("dt", [1, 4])
def test_seconds_count_from_the_bag_s_start_to_both_ends(name: str, dt: int) -> None:
    stub = outdoor()
    steps = select(stub, load_protocol(name, "outdoor_day1"), dt).steps
    since = stub.image_ts - stub.image_ts[0]
    assert since[steps[0]] >= 222.4 > since[steps[0] - 1]
    assert since[steps[-1] + dt] <= 240.4 < since[steps[-1] + dt + 1]


def test_the_bag_starts_with_the_first_event_or_frame() -> None:
    stub = outdoor()
    assert bag_start(stub) == EPOCH
    stub.first_event = EPOCH - 2.25
    assert bag_start(stub) == EPOCH - 2.25


def test_multicm_takes_frames_strictly_between_two_maps() -> None:
    stub = outdoor()
    stub.image_ts = np.sort(np.append(stub.image_ts, stub.flow_ts[[60, 61, 1339]]))
    steps = select(stub, load_protocol("multicm", "indoor_flying1"), 1).steps
    times = stub.image_ts
    assert times[steps[0]] > stub.flow_ts[60] >= times[steps[0] - 1]
    assert times[steps[-1] + 1] < stub.flow_ts[1339] <= times[steps[-1] + 2]


def test_intervals_without_truth_are_left_out_and_counted() -> None:
    stub = outdoor(frames=600, maps=140)  # maps from 5.3 s to 12.25 s, frames until 13.1 s
    found = select(stub, load_protocol("full"), 4)
    assert found.left_out["before the first ground truth"] == found.steps[0]
    assert stub.image_ts[found.steps[0]] >= stub.flow_ts[0] > stub.image_ts[found.steps[0] - 1]
    assert stub.image_ts[found.steps[-1] + 4] <= stub.flow_ts[-1] < stub.image_ts[found.steps[-1] + 5]
    assert sum(found.left_out.values()) + len(found.steps) == 600 - 4
    assert not select(outdoor(), load_protocol("steflow", "outdoor_day1"), 1).left_out


def test_frames_that_the_recording_lacks_are_counted() -> None:
    found = select(outdoor(frames=9301), load_protocol("steflow", "outdoor_day1"), 1)
    assert (len(found.steps), found.left_out["not in the recording"]) == (100, 700)


# --- rows


def test_rows_count_from_the_crop_or_the_frame() -> None:
    assert load_protocol("steflow", "outdoor_day1").row_limit(2) == 190  # rows 2..191 of the frame
    assert load_protocol("eraft", "outdoor_day1").row_limit(2) == 191  # rows 2..192 of the frame
    assert load_protocol("eraft", "outdoor_day1").row_limit(0) == 193
    assert load_protocol("steflow", "indoor_flying1").row_limit(2) is None


# --- masks


def test_every_event_counts_once_and_nothing_wraps_at_256() -> None:
    picture = event_picture([events([(5, 3, True)] * 256 + [(6, 3, False)] * 512)], rules(mask="events"), WHOLE)
    assert picture.sum() == 768
    assert (picture[3, 5], picture[3, 6]) == (256, 512)


def test_in_a_rescaled_picture_low_counts_vanish_beside_over_255() -> None:
    seen = rules(mask="rescaled")
    for most, kept in ((255, True), (256, False)):
        picture = event_picture([events([(5, 3, True)] * most + [(6, 3, False)])], seen, WHOLE)
        assert picture.max() == 255
        assert (picture[3, 6] > 0) == kept
    # The largest count is that within the crop.
    crop = (slice(0, 260), slice(6, 346))
    assert event_picture([events([(5, 3, True)] * 300 + [(6, 3, False)])], seen, crop)[3, 0] == 255


def test_a_signed_picture_drops_pixels_with_as_many_off_events() -> None:
    pixels = [(1, 0, True), (2, 0, False), (3, 0, True), (3, 0, False), (4, 0, True), (4, 0, True), (4, 0, False)]
    picture = event_picture([events(pixels)], rules(mask="signed"), WHOLE)
    assert picture[0, :6].tolist() == [0, 1, -1, 0, 1, 0]


def test_the_input_s_mask_is_of_the_five_kept_slices_of_thirteen() -> None:
    """Thirteen slices of four events, each in a column of its own, and a remainder of two."""
    pixels = [(index // 4, 0, True) for index in range(4 * 13)] + [(20, 0, True)] * 2
    outside = load_protocol("steflow", "outdoor_day1")
    assert np.flatnonzero(event_picture([events(pixels)], outside, WHOLE)[0]).tolist() == [0, 3, 6, 9, 12]
    inside = load_protocol("steflow", "indoor_flying1")  # five slices of ten, all seen; the remainder of four is not
    assert np.flatnonzero(event_picture([events(pixels)], inside, WHOLE)[0]).tolist() == list(range(13))[:13]
    assert event_picture([events(pixels)], inside, WHOLE).sum() == 50


def test_too_few_events_for_the_slices_are_no_input() -> None:
    assert not event_picture([events([(0, 0, True)] * 12)], load_protocol("steflow", "outdoor_day1"), WHOLE).any()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()), min_size=1, max_size=60),
       st.integers(0, 60))  # fmt: skip
def test_steps_of_an_interval_add_up(pixels: list[tuple[int, int, bool]], cut: int) -> None:
    parts = [events(part) if part else Events.empty(346, 260) for part in (pixels[:cut], pixels[cut:])]
    for mask in ("events", "signed", "none"):
        whole = event_picture([events(pixels)], rules(mask=mask), WHOLE)
        np.testing.assert_array_equal(event_picture(parts, rules(mask=mask), WHOLE), whole)


def test_the_crop_is_cut_out_of_the_picture() -> None:
    crop = (slice(2, 258), slice(45, 301))  # rows 2..257, columns 45..300
    picture = event_picture([events([(45, 2, True), (300, 257, True), (44, 2, True), (45, 258, True)])], rules(), crop)
    assert picture.shape == (256, 256)
    assert np.argwhere(picture).tolist() == [[0, 0], [255, 255]]
