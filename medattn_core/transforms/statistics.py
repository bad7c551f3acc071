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
        Share of the picture that is not background, mean and standard deviation of what is not; voxel size and
        extent in mm where they are known.
    """
    foreground = image[image > 0.1 * max(float(image.max(initial=0.0)), 1e-12)].astype(np.float64)
    found = {
        "share of foreground": foreground.size / max(image.size, 1),
        "mean intensity": float(foreground.mean()) if foreground.size else 0.0,
        "spread of intensity": float(foreground.std()) if foreground.size else 0.0,
    }
    if volume.spacing_known:
        spacing = sorted(float(s) for s in volume.spacing)
        extent = np.array(volume.shape) * volume.spacing
        found |= {"finest spacing (mm)": spacing[0], "extent (mm)": float(extent.max())}
    return found
