"""What a spike camera saw beside an event camera, in the same steps of time, for networks that take spikes."""

from __future__ import annotations

from pathlib import Path

from eventsim.errors import InputError
from eventsim.io.formats import open_spikes
from eventsim.io.mvsec import MvsecRecording
from eventsim.streams.spikes import SpikeStream
from flownet.protocols import Protocol
from flownet.protocols.intervals import step_times


class SpikeSteps:
    """The spikes of NAME_spikes.h5 beside NAME_data.hdf5, which `eventsim scene --spikes` records from one place.

    Its first plane begins at the first map of the ground truth.

    Args:
        recording: the event camera's.
        rules: whose steps.

    Raises:
        InputError: there are no spikes, or of another size.
    """

    def __init__(self, recording: MvsecRecording, rules: Protocol) -> None:
        data = Path(recording.data_path)
        self.path = data.with_name(data.name.removesuffix("_data.hdf5") + "_spikes.h5")
        if not self.path.is_file():
            raise InputError(data, expected=f"a spike camera's view in {self.path.name}", found="nothing there")
        self.stream = open_spikes(self.path)
        size, expected = (self.stream.height, self.stream.width), (recording.height, recording.width)
        if size != expected:
            raise InputError(self.path, expected=f"planes of {expected[0]}x{expected[1]}", found=f"{size[0]}x{size[1]}")
        self.seconds = step_times(recording, rules) - recording.flow_ts[0]

    def __call__(self, step: int) -> SpikeStream:
        """The spikes of one step.

        Raises:
            InputError: the stream ends before it.
        """
        start, stop = (round(float(each) * self.stream.readout_hz) for each in self.seconds[step : step + 2])
        if not 0 <= start < stop <= len(self.stream):
            found = f"{len(self.stream)}"
            raise InputError(self.path, expected=f"planes {start} to {stop - 1}", found=found)
        return self.stream[start:stop]
