"""From a scan to a model grid and back: conform, augmentation, MONAI dictionary transforms."""
