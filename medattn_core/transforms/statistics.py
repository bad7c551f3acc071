"""A few numbers that say what a scan is like, for the input check."""

from __future__ import annotations

import numpy as np

from medattn_core.volumes import Volume


def image_statistics(image: np.ndarray, volume: Volume) -> dict[str, float]:
    """Statistics of a scan by name, as a person would read them.

    Args:
        image: ``(C, *spatial)`` on the model grid, normalised.
        volume: the scan itself; its geometry counts only where it is stated.

    Returns:
        Share of the picture that is not background, mean and standard deviation of what is not, of all channels
        together and of each where they are several; voxel size and extent in mm where they are known.
    """
    found = _foreground(image, "")
    for number, channel in enumerate(image if len(image) > 1 else (), start=1):
        found |= _foreground(channel, f" of channel {number}")
    if volume.spacing_known:
        spacing = sorted(float(s) for s in volume.spacing)
        extent = np.array(volume.shape) * volume.spacing
        found |= {"finest spacing (mm)": spacing[0], "extent (mm)": float(extent.max())}
    return found


def _foreground(image: np.ndarray, of: str) -> dict[str, float]:
    foreground = image[image > 0.1 * max(float(image.max(initial=0.0)), 1e-12)].astype(np.float64)
    return {
        f"share of foreground{of}": foreground.size / max(image.size, 1),
        f"mean intensity{of}": float(foreground.mean()) if foreground.size else 0.0,
        f"spread of intensity{of}": float(foreground.std()) if foreground.size else 0.0,
    }
