"""The command `calibrate spikes`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from eventsim.cli.files import SpikeFile
from eventsim.command import check_output, naming_files

if TYPE_CHECKING:
    from eventsim.cameras.spike import SpikeCamera
    from eventsim.streams.spikes import SpikeStream


@dataclass(kw_only=True)
class CalibrateSpikes(SpikeFile):
    """Recordings of a spike camera to a camera file, with its fixed pattern and its noise.

    From a dark recording and one or two of uniform light (--dark, --flat, --luminance) come response and dark current
    of every pixel; from a recording of a still scene (--still) the noise; --maps takes maps that were measured before.
    """

    out: Positional[Path]
    """Camera file to write (NAME.yaml); its maps go to NAME_maps.npz beside it."""
    base: str = "vidar"
    """Camera, or YAML file, for everything that is not measured."""
    dark: Path | None = None
    """Spikes recorded in the dark."""
    flat: tuple[Path, ...] = ()
    """Spikes recorded under uniform light, one or two files."""
    luminance: tuple[float, ...] = ()
    """Luminance of each flat, in units of the luminance that shall be 1.0."""
    still: Path | None = None
    """Spikes of a still scene, for the noise."""
    maps: Path | None = None
    """Measured maps D_light, Nd and Nl (.npz), as published with RSIR and SpikeNeRF."""

    def run(self) -> None:
        from eventsim.cameras.preset import camera_settings
        from eventsim.cameras.spike import SpikeCamera
        from eventsim.io.camera_file import write_camera
        from eventsim.provenance import write_provenance

        self.check()
        camera = SpikeCamera.preset(self.base)
        if self.maps is not None:
            from eventsim.cameras.calibrate import camera_of_maps

            camera = camera_of_maps(self.maps, camera)
        if self.dark is not None:
            camera = self.with_pixels(camera, self.dark)
        if self.still is not None:
            camera = self.with_noise(camera, self.still)
        write_camera(self.out, *camera_settings(camera), overwrite=self.overwrite)
        write_provenance(self.out, self)

    def check(self) -> None:
        """Refuses a choice of recordings that nothing can be measured from."""
        from eventsim.errors import InputError
        from eventsim.io.camera_file import maps_path

        inputs = (self.dark, *self.flat, self.still, self.maps, Path(self.base))
        others = [maps_path(self.out)]
        check_output(self.out, ".yaml", ".yml", overwrite=self.overwrite, inputs=inputs, others=others)
        if not (self.dark or self.still or self.maps):
            raise InputError("calibrate", expected="--dark and --flat, --still or --maps", found="none of them")
        if self.dark and self.maps:
            raise InputError("calibrate", expected="either --dark and --flat or --maps", found="both")
        if bool(self.dark) != bool(self.flat):
            raise InputError("calibrate", expected="--dark together with --flat", found="one of them")
        if len(self.flat) != len(self.luminance):
            counts = f"{len(self.luminance)} for {len(self.flat)}"
            raise InputError("--luminance", expected="one number for each --flat", found=counts)

    def with_pixels(self, camera: SpikeCamera, dark: Path) -> SpikeCamera:
        """The camera with the fixed pattern of the dark and the flat recordings; prints what was found."""
        import numpy as np

        from eventsim.cameras.calibrate import calibrate_spikes

        without_light, flats = self.open_spikes(dark), [self.open_spikes(path) for path in self.flat]
        for path, stream in zip(self.flat, flats, strict=True):
            refuse_other_sensor(path, stream, without_light, f"as {dark} has")
        with naming_files(dark, *self.flat):
            found = calibrate_spikes(without_light, list(zip(flats, self.luminance, strict=True)))
        response, floor = found.response, found.dark
        print(f"gain          {found.spikes_per_readout:.6g} spikes per readout at luminance 1")
        print(f"response      spread {response.value.std():.4f}, known to {np.median(response.error):.2g} a pixel")
        print(f"dark current  median {np.median(floor.value):.3g} spikes per readout, spread {floor.value.std():.3g}, "
              f"known to {np.median(floor.error):.2g} a pixel")  # fmt: skip
        if found.curvature is not None:
            print(f"curvature     {found.curvature:+.2%} at the brighter flat")
        return found.camera(camera)

    def with_noise(self, camera: SpikeCamera, still: Path) -> SpikeCamera:
        """The camera with the noise of a recording's still pixels, of its size and clock; prints what was found."""
        from functools import partial

        from eventsim.cameras.noise_fit import EVALUATIONS, MOST_PLANES, fit_noise
        from eventsim.cameras.pattern import as_pattern
        from eventsim.cameras.preset import camera_settings
        from eventsim.progress import track
        from eventsim.streams.static_regions import static_region

        stream = self.open_spikes(still)
        if camera_settings(camera)[1]:
            refuse_other_sensor(still, stream, camera, "as the camera with its measured maps has")
        show = partial(track, label="noise", total=EVALUATIONS, unit="simulations", quiet=self.quiet)
        with naming_files(still):
            region = static_region(stream, min(len(stream), MOST_PLANES))
            fitted = fit_noise(camera, stream, region, seed=self.seed, show=show)
        jitter = as_pattern(fitted.threshold_noise)
        print(f"noise         {fitted.electrons_per_spike:.3g} electrons a spike")
        print(f"              threshold noise of {jitter.mean:.3g}, log-normal with a spread of {jitter.spread:.2g}")
        return fitted


def refuse_other_sensor(path: Path, stream: SpikeStream, expected: SpikeStream | SpikeCamera, why: str) -> None:
    """For a recording of another size or clock than another recording or the camera.

    Raises:
        InputError: names the file.
    """
    from eventsim.errors import InputError

    sensors = [f"{each.width}x{each.height} pixels at {each.readout_hz:g} Hz" for each in (expected, stream)]
    if sensors[0] != sensors[1]:
        raise InputError(path, expected=f"{sensors[0]}, {why}", found=sensors[1])
