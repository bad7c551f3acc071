"""Sample scans, one click away in the module Sample Data."""

from __future__ import annotations

from pathlib import Path

from MedAttnLib.texts import _

CATEGORY = "MedAttn"
SOURCE = "https://raw.githubusercontent.com/AIM-Harvard/pyradiomics/v3.0.1/data/"
SAMPLES = {
    "MedAttnBrain1": ("brain1_image.nrrd", "fffdb111ee8b428ede7256707393c927a7d5be912f0604cf3c6f1bd5fc9644cf"),
    "MedAttnBrain2": ("brain2_image.nrrd", "d35a1c6a3e1eb72bae97c5515472fbe057fb38ee8e1e199215d1c3c6f292332e"),
}
"""Name of the node, file of PyRadiomics 3.0.1 (BSD-3-Clause), SHA-256."""


def address(name: str) -> str:
    """Where a sample comes from: the source checkout where there is one, so that no network is needed."""
    here = Path(__file__).resolve().parents[3] / "sample_data" / name
    return here.as_uri() if here.is_file() else SOURCE + name


def register() -> None:
    """Make the samples known to the module Sample Data."""
    import SampleData

    logic = SampleData.SampleDataLogic
    if hasattr(logic, "registerCustomSampleDataCategory"):  # since 5.10
        logic.registerCustomSampleDataCategory(CATEGORY, title=_("MedAttn"))
    icons = Path(__file__).resolve().parents[1] / "Resources" / "Icons"
    for node, (file, digest) in SAMPLES.items():
        logic.registerCustomSampleDataSource(
            category=CATEGORY,
            sampleName=node,
            thumbnailFileName=str(icons / "MedAttn.png"),
            uris=address(file),
            fileNames=file,
            checksums=f"SHA256:{digest}",
            nodeNames=node,
        )
