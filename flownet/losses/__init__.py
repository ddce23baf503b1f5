"""Losses: what a flow must be like without labels (photometric, smoothness, contrast), and its error where it is known.

Every loss takes flows in pixels of their own scale and is a mean, so that its weight depends on neither batch nor
crop; only the published forms (`reference=True`) sum.
"""

from flownet.losses.contrast import contrast_loss as contrast_loss
from flownet.losses.contrast import slice_contrast_loss as slice_contrast_loss
from flownet.losses.occlusion import backwards as backwards
from flownet.losses.occlusion import consistent as consistent
from flownet.losses.photometric import photometric_loss as photometric_loss
from flownet.losses.photometric import warp_reference as warp_reference
from flownet.losses.smoothness import smoothness_loss as smoothness_loss
from flownet.losses.supervised import end_point_loss as end_point_loss
