"""`medattn bundles` and `medattn info`: what there is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medattn_core.cli.console import out, prepare, table
from medattn_core.cli.shared import AsJson, Verbose, reported

if TYPE_CHECKING:
    from medattn_core.bundles import Bundle
    from medattn_core.volumes import Series, Volume


def bundles(as_json: AsJson = False, verbose: Verbose = False) -> None:
    """List the shipped bundles, with their inputs and outputs."""
    prepare(verbose)
    with reported(verbose):
        from medattn_core.bundles import list_bundles

        listed = list_bundles()
        if as_json:
            out(json.dumps([_bundle(bundle) for bundle in listed], indent=2, ensure_ascii=False))
            return
        rows = [(bundle.name, bundle.version, _takes(bundle), _gives(bundle), bundle.description) for bundle in listed]
        table(("bundle", "version", "takes", "gives", "description"), rows)


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", show_default=False, help="Image file or DICOM folder.")],
    series: Annotated[
        str | None, typer.Option(metavar="UID", help="SeriesInstanceUID of the DICOM series to read.")
    ] = None,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Show how an image is read: grid, geometry, intensities, series, warnings."""
    prepare(verbose)
    with reported(verbose):
        from medattn_core.volumes import list_series, read

        volume = read(file, series=series)
        seen = _seen(volume, list_series(file) if volume.series is not None else [])
        if as_json:
            out(json.dumps(seen, indent=2, ensure_ascii=False))
            return
        for name in (
            "source",
            "format",
            "modality",
            "shape",
            "spacing_mm",
            "axis_codes",
            "affine_ras_mm",
            "dtype",
            "range",
        ):
            out(f"{name.replace('_', ' '):<14} {_plain(seen[name])}")
        if seen["series"]:
            chosen = seen["series_instance_uid"]
            rows = [
                ("*" if one["uid"] == chosen else "", one["uid"], one["modality"], one["number"], one["slices"])
                for one in seen["series"]
            ]
            table(("read", "series", "modality", "number", "slices"), rows)
        for notice in volume.warnings:
            out(f"warning {notice}")


def _seen(volume: Volume, series: list[Series]) -> dict[str, Any]:
    return {
        "source": volume.source,
        "format": volume.format,
        "modality": volume.modality or None,
        "spatial_dims": volume.spatial_dims,
        "shape": list(volume.shape),
        "spacing_mm": [round(float(s), 6) for s in volume.spacing] if volume.spacing_known else None,
        "axis_codes": volume.axis_codes,
        "affine_ras_mm": [[round(float(x), 6) for x in row] for row in volume.affine],
        "dtype": str(volume.data.dtype),
        "range": [float(volume.data.min()), float(volume.data.max())],
        "series_instance_uid": volume.series.series_instance_uid if volume.series else None,
        "series": [
            {"uid": one.series_instance_uid, "modality": one.modality, "number": one.number, "slices": one.slices}
            for one in series
        ],
        "warnings": [notice.to_dict() for notice in volume.warnings],
    }


def _bundle(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "version": bundle.version,
        "description": bundle.description,
        "path": str(bundle.path),
        "weights_sha256": bundle.weights_sha256,
        "task": bundle.task.to_dict(),
    }


def _takes(bundle: Bundle) -> str:
    task = bundle.task
    shape = "slices and volumes" if task.slicewise else f"{task.spatial_dims}D"
    spacing = " x ".join(f"{s:g}" for s in task.spacing)
    several = f", {' + '.join(task.channels)}" if len(task.channels) > 1 else ""
    return f"{' or '.join(task.modality) or 'any modality'}{several}, {shape}, at {spacing} mm"


def _gives(bundle: Bundle) -> str:
    task = bundle.task
    unit = f" in {task.unit}" if task.unit else ""
    return f"{', '.join(task.labels)}{unit} ({task.kind})"


def _plain(value: Any) -> str:
    if value is None:
        return "not stated"
    if isinstance(value, list):
        separator = "; " if isinstance(value[0], list) else "  " if isinstance(value[0], float) else " x "
        return separator.join(_plain(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
