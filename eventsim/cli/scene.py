"""The command `scene`: pictures become a recording of a moving camera, with exact flow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tyro.conf import Positional

from eventsim.command import Options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from eventsim.light.lens import Lens
    from eventsim.light.lighting import Lighting
    from eventsim.light.paths import KeyedPath
    from eventsim.light.scenes import Scene as DrawnScene
    from eventsim.light.scenes import SceneStyle
    from eventsim.light.textures import Picture
    from eventsim.synthesize.recording import Recording

_POSE_DEPTH = 4.0


@dataclass(kw_only=True)
class Scene(Options):
    """Pictures under a moving camera to a recording in MVSEC's layout, with exact flow, depth and poses."""

    out: Positional[Path]
    """Prefix of the files: OUT_data.hdf5 and OUT_gt.hdf5 (and OUT_spikes.h5)."""
    picture: Path | None = None
    """One photograph for every plane; or --textures."""
    textures: Path | None = None
    """Folder of pictures, however deep; each plane shows one of them."""
    drawn: int | None = None
    """Instead, so many textures drawn at random (noise, discs, polygons, cells, stripes, marks)."""
    kind: str = "plane"
    """What is seen: plane, room, corridor (floor, walls and a far plane), objects (moving before a background)."""
    like: Literal["mvsec"] = "mvsec"
    """Layout, rates and time stamps of the files."""
    camera: str = "davis346"
    """Name of an event camera, or a YAML file."""
    spikes: str | None = None
    """Name of a spike camera (vidar, ...), or a YAML file: what it sees from the same place, as OUT_spikes.h5."""
    duration: float = 3.0
    """Length in seconds."""
    frame_hz: float | None = None
    """Grey frames a second; by default 45 in corridors and 32 elsewhere, as MVSEC's outdoors and indoors."""
    flow_hz: float = 20.0
    """Ground-truth maps a second."""
    speed_px: float = 70.0
    """Mean speed of the picture's motion, pixels a second, for paths that are drawn."""
    size: tuple[int, int] | None = None
    """Height and width of the sensor; by default the camera's."""
    poses: Path | None = None
    """Path of the camera: TUM text (t x y z qx qy qz qw), or MVSEC's odometry or poses (.h5, .hdf5, .npz)."""
    pose_start: float = 0.0
    """Seconds of the pose file that are left out at its start."""
    pose_speed: float = 1.0
    """How many times as fast the path is gone."""
    pose_axes: str = "camera"
    """Axes of the poses: camera (x right, y down, z forward) or body (x forward, y left, z up)."""
    depth: float | None = None
    """With --poses: depth of the background in the poses' unit, by default 4; rooms grow as the path needs."""
    lens: str | None = None
    """equidistant[:k1,k2,k3,k4], radtan[:k1,k2,p1,p2], or a Kalibr camera chain (.yaml) as MVSEC's."""
    gain: float = 1.0
    """Exposure: times the luminance."""
    brightness_change: float = 0.0
    """The brightness rises and falls smoothly by a factor of up to e to this power."""
    brightness_hz: float = 0.3
    """How often a second it does."""
    flicker_depth: float = 0.0
    """Share of the light that lamps lose and regain with the mains, 0 to 1."""
    flicker_hz: float = 100.0
    """How often a second: 100 on mains of 50 Hz, 120 on 60 Hz."""
    vignetting: float = 0.0
    """Share of the light that the corners miss."""
    exposure_ms: float = 0.0
    """Exposure of the grey frames, which blurs them."""
    data_only: bool = False
    """Write no OUT_gt.hdf5 (flow, depth, poses)."""

    def run(self) -> None:
        from eventsim.cameras.event import EventCamera
        from eventsim.cameras.spike import SpikeCamera
        from eventsim.progress import track
        from eventsim.provenance import write_provenance
        from eventsim.synthesize.recording import record_scene

        camera = EventCamera.preset(self.camera)
        spike_camera = None if self.spikes is None else SpikeCamera.preset(self.spikes)
        recording = self.recording()
        scene = self.scene(*(self.size or (camera.height, camera.width)))
        times = record_scene(self.out, scene, camera, recording, spike_camera=spike_camera, seed=self.seed,
                             overwrite=self.overwrite)  # fmt: skip
        total = recording.duration_us // 1000
        for _ in track(times, "scene", total=total, unit="ms", quiet=self.quiet, reached=lambda t_us: t_us // 1000):
            pass
        beside = {} if spike_camera is None else {"spike_camera": spike_camera}
        write_provenance(self.out, self, camera=camera, **beside)

    def recording(self) -> Recording:
        """Lengths, rates and light."""
        from eventsim.light.rooms import KINDS
        from eventsim.synthesize.recording import Recording

        usual = KINDS[self.kind].frame_hz if self.kind in KINDS else 32.0
        return Recording(
            duration_us=round(self.duration * 1e6),
            frame_hz=usual if self.frame_hz is None else self.frame_hz,
            flow_hz=self.flow_hz,
            ground_truth=not self.data_only,
            lighting=self.lighting(),
        )

    def lighting(self) -> Lighting:
        """How the scene is lit."""
        from eventsim.light.lighting import Lighting

        return Lighting(
            gain=self.gain,
            change=self.brightness_change,
            change_hz=self.brightness_hz,
            flicker_depth=self.flicker_depth,
            flicker_hz=self.flicker_hz,
            vignetting=self.vignetting,
            exposure_us=self.exposure_ms * 1000,
        )

    def scene(self, height: int, width: int) -> DrawnScene:
        """The scene, drawn from the seed."""
        from eventsim.light.rooms import draw_room
        from eventsim.light.scenes import SceneStyle

        style = SceneStyle(height=height, width=width, speed_px=self.speed_px)
        style, lens = self.through_lens(style)
        return draw_room(
            self.kind,
            self.pictures(),
            style,
            self.seed,
            path=self.given_path(),
            duration_us=self.duration * 1e6,
            depth=_POSE_DEPTH if self.depth is None else self.depth,
            lens=lens,
        )

    def pictures(self) -> Sequence[Picture]:
        """What planes show."""
        from eventsim.errors import InputError
        from eventsim.light.procedural import DrawnTextures
        from eventsim.light.textures import PictureFiles

        given = [self.picture, self.textures, self.drawn]
        if sum(each is not None for each in given) != 1:
            found = "more than one" if any(each is not None for each in given) else "neither"
            raise InputError("scene", expected="one of --picture, --textures and --drawn", found=found)
        if self.drawn is not None:
            return DrawnTextures(self.drawn, seed=self.seed)
        source = self.picture or self.textures
        assert source is not None
        return PictureFiles(source)

    def through_lens(self, style: SceneStyle) -> tuple[SceneStyle, Lens | None]:
        """The style with the lens's focal length, and the lens."""
        from dataclasses import replace

        from eventsim.light.lens import lens_of

        if self.lens is None:
            return style, None
        lens = lens_of(self.lens, height=style.height, width=style.width, focal_px=style.focal)
        return replace(style, focal_px=lens.focal_px[0]), lens

    def given_path(self) -> KeyedPath | None:
        """The path through the poses of a file."""
        from eventsim.errors import InputError
        from eventsim.io.poses import read_poses
        from eventsim.light.paths import KeyedPath

        if self.poses is None:
            return None
        poses = read_poses(self.poses)
        t_us = (poses.seconds - poses.seconds[0]) * 1e6
        path = KeyedPath(
            t_us, poses.positions, poses.quaternions, self.pose_start * 1e6, self.pose_speed, self.pose_axes
        )
        needed = self.duration + 1 / self.flow_hz  # the last map's flow is to a time after the end
        if path.duration_us < needed * 1e6:
            raise InputError(self.poses, expected=f"poses of {needed:g} s from {self.pose_start:g} s on",
                             found=f"{path.duration_us / 1e6:g} s")  # fmt: skip
        return path
