"""The temporal distribution of events and spikes, the input of the networks: of one recording, and of a batch."""

from __future__ import annotations

from flownet.representation.batch import EventBatch, temporal_distributions
from flownet.representation.distribution import temporal_distribution

__all__ = ["EventBatch", "temporal_distribution", "temporal_distributions"]
