"""How the light of a whole plane fluctuates: its deviation and spectrum beside those of pixels that know nothing of
each other.

Pixels whose phases are independent add their spectra, so that the spectrum of the mean of N is the mean of theirs
over N. What all share (flickering light, a noisy supply, a common start) adds up to N times as much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from eventsim.streams.intervals import Mask, Picture
from eventsim.streams.spans import Span

_SAMPLE = 2000
_REFERENCE_PLANES = 8192


def plane_means(span: Span, mask: Mask) -> NDArray[np.float64]:
    """Share of the mask's pixels that fire in each plane: float64 [T]."""
    bits = np.packbits(mask, axis=1, bitorder="little")
    counts = [np.bitwise_count(packed & bits).sum(axis=(1, 2), dtype=np.int64) for _, packed in span.chunks()]
    means: NDArray[np.float64] = np.concatenate(counts) / mask.sum()
    return means


def plane_mean_deviation(means: NDArray[np.float64], rates: Picture) -> float:
    """Standard deviation of the planes' means over its value for pixels (of these rates, any shape) that are
    independent in each plane; NaN where nothing can vary."""
    independent = float(np.sqrt((rates * (1 - rates)).sum()) / rates.size)
    return float(means.std() / independent) if independent > 0 else np.nan


def relative_spectrum(span: Span, mask: Mask, pixels: NDArray[np.int64], segment: int) -> NDArray[np.float64]:
    """Power of the plane's mean at each frequency over that of independent pixels: float64 [segment // 2], 1 if they
    are.

    Welch's method (IEEE Transactions on Audio and Electroacoustics 1967), Hann windows that overlap by half. The
    independent value is estimated from single pixels over the first 8,192 planes, so that memory is bounded.

    Args:
        span: the planes.
        mask: bool [H, W], the pixels that make up the mean.
        pixels: int64, indices y * W + x of pixels of the mask, in random order; the first 2,000 serve.
        segment: planes in a segment, even. Frequency k is k / segment of the readout rate, k = 1 .. segment // 2.
    """
    from scipy.signal import welch

    _, whole = welch(plane_means(span, mask), nperseg=segment)
    rows, columns = np.divmod(np.sort(pixels[:_SAMPLE]), span.shape[1])
    first = Span(span.stream, span.start, span.start + min(len(span), _REFERENCE_PLANES))
    bits = [packed[:, rows, columns // 8] >> (columns % 8).astype(np.uint8) & 1 for _, packed in first.chunks()]
    _, single = welch(np.concatenate(bits).astype(np.float32), nperseg=segment, axis=0)
    independent = single.mean(axis=1, dtype=np.float64) / mask.sum()
    varies = independent > 1e-15
    ratio: NDArray[np.float64] = np.divide(whole, independent, out=np.full(len(whole), np.nan), where=varies)[1:]
    return ratio


def frequencies_hz(segment: int, readout_hz: float) -> NDArray[np.float64]:
    """The frequencies of `relative_spectrum`, float64 [segment // 2]."""
    return np.arange(1, segment // 2 + 1) * readout_hz / segment
