"""A comparison of a simulated with a real spike stream as one HTML page: the table, curves and pictures."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

import numpy as np
from numpy.typing import NDArray

from eventsim.report import HtmlReport
from eventsim.streams.comparison import Comparison
from eventsim.streams.fixed_pattern import pattern_residual
from eventsim.streams.intervals import Mask, Picture
from eventsim.streams.realism import Realism
from eventsim.view import RGB, luminance_picture

_LAST_SHARE = 0.9999
_LARGEST_RESIDUAL, _LARGEST_ERROR = 0.2, 0.05
_RED, _BLUE, _GREY = np.array([[178, 24, 43], [33, 102, 172], [205, 208, 212]], np.float64)
_DASH = "–"  # noqa: RUF001

#: What each row of the table says, in a few words.
MEANINGS = {
    "mean_rate": "spikes per readout",
    "two_valued_share": "pixels whose intervals take at most two values; an ideal integrator: 1",
    "excess_variance": "interval variance beyond an ideal integrator's, readouts squared",
    "relative_excess_variance": "the same over the squared mean interval: about 1 / photo-electrons per spike",
    "outlying_share": "intervals 1 readout or more from their pixel's mean",
    "jump_share": "successive intervals 2 readouts or more apart; an ideal integrator: 0",
    "lag1_correlation": "of successive intervals: negative where a pixel makes up for a short one, positive in motion",
    "fano_factor": "variance over mean of the spikes in 50 planes; a Poisson process: 1",
    "plane_mean_deviation": "fluctuation of whole planes over that of independent pixels: 1 if they are",
    "spectrum_ratio": "the same by frequency, on average",
    "dark_rate_mean": "spikes per readout in the dark",
    "dark_rate_spread": "its standard deviation over pixels",
    "dark_rate_high": "its 99th percentile over pixels",
    "pixel_pattern": "fixed pattern from pixel to pixel, as a share of the light",
    "row_pattern": "from row to row",
    "column_pattern": "from column to column",
    "interval_total_variation": "distance of the interval histograms, 0 to 1",
    "interval_wasserstein": "readouts by which intervals would have to move",
    "rate_curve": "distance of the rate curve from the diagonal, as a share of the mean rate",
    "rate_error": "root mean square difference of the pixels' rates, as a share of the mean rate",
    "fano_curve": "root mean square difference of the Fano curves, as a share",
    "spectrum_db": "root mean square difference of the spectra, decibels",
}


def write_realism_page(
    path: str | PathLike[str],
    realism: Realism,
    *,
    simulated_name: str = "simulated",
    real_name: str = "real",
    flat_given: bool = False,
    overwrite: bool = False,
) -> None:
    """Writes the page, which fetches nothing.

    Args:
        path: the file.
        realism: what `compare_streams` found.
        simulated_name, real_name: how the page calls the streams.
        flat_given: whether the fixed pattern comes from flat recordings.
        overwrite: replace an existing file.

    Raises:
        OutputExistsError: the file exists and `overwrite` is false.
    """
    page = HtmlReport(f"Realism: {simulated_name} beside {real_name}")
    _add_table(page, realism, flat_given)
    _add_curves(page, realism)
    _add_pictures(page, realism)
    page.write(path, overwrite=overwrite)


def _add_table(page: HtmlReport, realism: Realism, flat_given: bool) -> None:
    whole = (realism.simulated_stream.whole, realism.real_stream.whole)
    still = " and ".join(f"{100 * each.static.mean():.4g} %" for each in whole)
    how = (
        "the same scene, pixel by pixel"
        if realism.same_scene
        else "different scenes: only what light does not decide "
        "can be compared, and the distances of histograms and curves tell the scenes apart as well"
    )
    page.text(
        f"{realism.planes} planes of each stream, {still} of the pixels (simulated and real), where nothing moves. "
        f"They show {how}. `difference` and `half against half` are between stretches of half that length: the "
        "simulated stream against the real one, and the real stream's second half against its first. Where the two "
        "are alike, this recording cannot tell the streams apart; `times` is the one over the other, and means little "
        "where two halves happen to agree very well."
    )
    add_comparison(page, realism, MEANINGS)
    dark = (
        "dark recordings"
        if whole[1].dark is not None
        else "the darkest 1 % of the still pixels (no dark recordings were given)"
    )
    flat = "flat recordings" if flat_given else "the scenes, texture included (no flat recordings were given)"
    page.text(f"Dark rates are those of {dark}; the fixed pattern is that of {flat}.")


def add_comparison(page: HtmlReport, comparison: Comparison, meanings: Mapping[str, str]) -> None:
    """The table of a comparison, with how many times the yardstick each difference is and what each row says."""
    columns = ["statistic", "simulated", "real", "difference", "half against half", "times", "what it says"]
    page.table(columns, [_row(name, values, meanings) for name, *values in comparison.rows()], words=True)


def _row(name: str, values: list[float], meanings: Mapping[str, str]) -> list[str]:
    difference, own = values[2:]
    times = difference / own if own > 0 else np.nan
    shown = [_DASH if np.isnan(value) else f"{value:.4g}" for value in values]
    factor = _DASH if np.isnan(times) else f"{times:.2g}" if times < 99.5 else f"{times:,.0f}"
    return [name, *shown, factor, meanings[name]]


def _add_curves(page: HtmlReport, realism: Realism) -> None:
    _add_rates(page, realism)
    first, second = realism.real_stream.halves
    each = {"simulated": realism.simulated_stream.halves[0], "real": first, "real, second half": second}
    page.heading("Intervals")
    page.text("Share of intervals of each length, on a logarithmic scale: noise shows as tails beyond the real ones.")
    pooled = np.sum([one.histogram for one in each.values()], axis=0)
    last = int(np.searchsorted(np.cumsum(pooled), _LAST_SHARE * pooled.sum())) + 2
    lengths = np.arange(1, min(last, len(pooled)))
    shares = {name: one.histogram[lengths] / one.histogram.sum() for name, one in each.items()}
    page.curves(
        {name: (lengths.tolist(), share.tolist()) for name, share in shares.items()},
        x_label="interval (readouts)", y_label="share", log_y=True, steps=True, yardsticks=["real, second half"],
    )  # fmt: skip
    page.heading("Counts over windows")
    page.text(
        "Variance of the spike count over its mean (Fano factor). An integrator's falls with the window, for it owes "
        "what it did not yet count; false spikes hold it up; a Poisson process stays at 1."
    )
    page.curves(
        {name: (one.windows.tolist(), one.fano.tolist()) for name, one in each.items()},
        x_label="window (planes)", y_label="Fano factor", log_x=True, log_y=True, yardsticks=["real, second half"],
    )  # fmt: skip
    page.heading("Spectrum of the plane mean")
    page.text(
        "Power of the planes' means over that of independent pixels. 1: every pixel for itself, give or take a factor "
        "of two in short streams. Peaks: flickering light or a noisy supply. High all over: pixels that started alike."
    )
    page.curves(
        {name: (one.frequencies_hz.tolist(), one.spectrum.tolist()) for name, one in each.items()},
        x_label="frequency (Hz)", y_label="relative power", log_x=True, log_y=True, yardsticks=["real, second half"],
    )  # fmt: skip


def _add_rates(page: HtmlReport, realism: Realism) -> None:
    page.heading("Rate and intensity")
    if realism.same_scene:
        page.text("Rate where the first half of the real stream has a given one: on the diagonal, gain and offset "
                  "are right.")  # fmt: skip
    else:
        page.text("Quantiles of the rate against those of the real stream's first half: scenes and gain together.")
    curves = realism.rate_curve()
    light = curves["real, second half"][0]
    ends = [float(light[0]), float(light[-1])]
    page.curves(
        {**{name: (x.tolist(), y.tolist()) for name, (x, y) in curves.items()}, "diagonal": (ends, ends)},
        x_label="real, first half (spikes per readout)", y_label="spikes per readout",
        yardsticks=["diagonal"],
    )  # fmt: skip


def _add_pictures(page: HtmlReport, realism: Realism) -> None:
    simulated, real = realism.simulated_stream.whole, realism.real_stream.whole
    page.heading("Pictures")
    white = float(np.percentile(real.light, 99.5)) or 1.0
    page.text("The light as each stream saw it, on one scale, and in grey what moves and is left out.")
    page.pictures(
        {
            "simulated": luminance_picture(simulated.light.astype(np.float32), white),
            "real": luminance_picture(real.light.astype(np.float32), white),
            "compared (grey: left out)": _masked(luminance_picture(real.light.astype(np.float32), white), real.static),
        },
        height_px=230,
    )
    if realism.same_scene:
        page.text(
            f"Simulated light over real, less 1, from blue (-{_LARGEST_ERROR:.0%}) to red (+{_LARGEST_ERROR:.0%}): its "
            "grain is the fixed pattern that only one of the two has, an even tint the wrong gain."
        )
        relative = simulated.light / np.maximum(real.light, 1e-6) - 1
        page.pictures({"simulated / real - 1": diverging_picture(relative, _LARGEST_ERROR)}, height_px=230)
    page.text(f"Light over the mean of its 9x9 neighbours, less 1 (blue -{_LARGEST_RESIDUAL:.0%}, red "
              f"+{_LARGEST_RESIDUAL:.0%}): fixed pattern, with the scene's edges among it.")  # fmt: skip
    residuals = {"simulated": simulated, "real": real}
    page.pictures(
        {
            f"{name}: residual to the local mean": diverging_picture(
                pattern_residual(each.light, each.static), _LARGEST_RESIDUAL
            )
            for name, each in residuals.items()
        },
        height_px=230,
    )
    if simulated.dark is not None and real.dark is not None:
        _add_dark(page, simulated.dark, real.dark)


def _add_dark(page: HtmlReport, simulated: Picture, real: Picture) -> None:
    highest = float(np.percentile(real, 99.5)) or 1.0
    page.text(f"Dark rates, white at {highest:.3g} spikes per readout: bright points are hot pixels.")
    page.pictures(
        {
            f"{name} dark": luminance_picture(each.astype(np.float32), highest)
            for name, each in {"simulated": simulated, "real": real}.items()
        },
        height_px=230,
    )


def diverging_picture(values: NDArray[np.float64], largest: float) -> RGB:
    """Signed values [H, W] from blue (-largest) over white (0) to red (+largest); grey where not a number."""
    share = np.clip(np.nan_to_num(values / largest), -1, 1)[..., None]
    end = np.where(share > 0, _RED, _BLUE)
    colour = 255 + np.abs(share) * (end - 255)
    picture: RGB = np.where(np.isnan(values)[..., None], _GREY, colour).round().astype(np.uint8)
    return picture


def _masked(picture: RGB, mask: Mask) -> RGB:
    return np.where(mask[..., None], picture, _GREY.astype(np.uint8))
