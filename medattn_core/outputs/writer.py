"""Write results to a folder, one or ten thousand: tables, evidence files, overlays, reports."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from medattn_core import volumes
from medattn_core.errors import MedAttnError, Notice
from medattn_core.outputs import files, render, tables
from medattn_core.outputs.overview import FRONT_PAGE, write_front_page
from medattn_core.outputs.own_files import description_of, is_ours
from medattn_core.outputs.report import report as page_of
from medattn_core.outputs.view import View
from medattn_core.volumes import filenames

if TYPE_CHECKING:
    from medattn_core.inference.prediction import Prediction

EVIDENCE_DTYPES = ("int16", "float32")
"""How evidence is stored in files."""
ENDINGS = {"evidence": "_evidence.nii.gz", "overlay": "_overlay.png", "report": "_report.html"}
"""What follows the name of a result in those of its files."""


class ResultWriter:
    """Writes each result as it comes; the tables are complete at the end whatever happens in between.

    In the folder: ``<name>_evidence.nii.gz`` for each input, with ``report`` also ``<name>_overlay.png``,
    ``<name>_report.html`` and ``report.html`` (the page of a single input, an overview of several), and
    ``predictions.json`` and ``predictions.csv`` for all, failed inputs included. Every file is replaced atomically, and
    what an earlier result left under the same name is removed: no page of it lies beside the new map.

    The tables are rewritten after each item; when there are so many rows that this takes a twentieth of the time or
    more, less often, so that ten thousand inputs do not cost a hundred million rows. :meth:`close` always writes.

    Args:
        folder: made if absent.
        report: draw overlays and pages (needs Pillow).
        add: keep the rows of the tables that lie there, in place of beginning anew.
        evidence_dtype: of :data:`EVIDENCE_DTYPES`: ``int16`` with a slope (no voxel is off by more than 1e-4 of the
            largest, sums are kept), or ``float32``, many times slower to write.

    Raises:
        VolumeError: ``unwritable``, the folder cannot be made.
        MedAttnError: ``missing_dependency``, ``report`` without Pillow; ``bad_argument``, another ``evidence_dtype``,
            or a ``predictions.json`` that cannot be added to.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        report: bool = False,
        *,
        add: bool = False,
        evidence_dtype: str = "int16",
    ) -> None:
        if evidence_dtype not in EVIDENCE_DTYPES:
            accepted = ", ".join(EVIDENCE_DTYPES)
            raise MedAttnError("bad_argument", f"evidence_dtype {evidence_dtype!r}; accepted: {accepted}")
        self.evidence_dtype = evidence_dtype
        if report:
            render.require_pillow()
        self.folder = files.make_folder(folder)
        self.report = report
        self.records: list[dict[str, Any]] = []
        self._pages: list[str | None] = []
        self._names = filenames.UniqueNames()
        self._written_at, self._cost = float("-inf"), 0.0
        self._dirty = False
        if add:
            self._take_over()

    def __enter__(self) -> ResultWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def failed(self) -> int:
        """Inputs so far that gave no complete result."""
        return sum(record["error"] is not None for record in self.records)

    def add(self, prediction: Prediction, *, name: str | None = None, spared: Iterable[str] = ()) -> dict[str, Path]:
        """Write one result.

        The evidence file that cannot be written makes the result an error in the tables; a picture that cannot be
        drawn only adds the warning ``report_failed``. Neither loses the numbers nor stops a batch.

        Args:
            prediction: what to write.
            name: base name of its files; the input's own name by default.
            spared: files that are not written over, besides the source of the scan.

        Returns:
            The files of this result that were written: ``evidence``, ``overlay``, ``report``.

        Raises:
            VolumeError: ``unwritable``, the tables cannot be written.
        """
        wanted = filenames.name_of(prediction.volume.source) if name is None else filenames.clean_name(name)
        record, paths = self.write(prediction, self._names.take(wanted), spared)
        self._append(record, paths["report"].name if "report" in paths else None)
        return paths

    def write(
        self, prediction: Prediction, name: str, spared: Iterable[str] = ()
    ) -> tuple[dict[str, Any], dict[str, Path]]:
        """Write the files of one result, and no table: for callers with tables of their own, from any thread.

        Of an earlier result of this name no file is left, be the new one whole or not; files of others stay.

        Args:
            prediction: what to write.
            name: base name of its files, as it is.
            spared: as for :meth:`add`.

        Returns:
            The object of predictions.json, and the files that were written.
        """
        record = tables.record_of(prediction.to_dict())
        paths: dict[str, Path] = {}
        view = View.of(prediction)
        source = prediction.volume.source
        spared = (source, *spared)
        try:
            for kind in ENDINGS if self.report else ("evidence",):
                files.spare(self._path(name, kind), *spared)
            # Before the map is there: if the process ends between, pictures of another scan must not lie beside it.
            self._remove(name, spared, ("overlay", "report"))
            self._evidence(view, record, name, paths)
        except MedAttnError as error:
            record["error"] = {"code": error.code, "message": error.message}
        if self.report and record["error"] is None:
            try:
                self._draw(view, name, paths)
            except Exception as error:  # a fault in drawing must not cost the result
                # Of a foreign exception the class name only: its text may quote a header.
                reason = error.message if isinstance(error, MedAttnError) else type(error).__name__
                message = f"{source}: the pictures or the page could not be made ({reason})"
                record["warnings"].append(Notice("report_failed", " ".join(message.split())).to_dict())
        with suppress(MedAttnError):  # what cannot be removed could not be replaced, and that is said
            self._remove(name, spared, ENDINGS.keys() - paths.keys())
        return record, paths

    def add_error(self, source: str | os.PathLike[str], error: MedAttnError) -> None:
        """Note an input that failed; what an earlier run left under its name is removed, unless the input is gone.

        Raises:
            VolumeError: ``unwritable``, the tables cannot be written.
        """
        source = os.fspath(source)
        name = filenames.name_of(source)
        # A scan that is gone, maybe with its network drive, takes no result of before with it.
        if error.code != "not_found" and name not in self._names:
            with suppress(MedAttnError):
                self._remove(name, (source,), ENDINGS)
        self._append(tables.error_record(source, error), None)

    def close(self) -> dict[str, Path]:
        """Write the tables and ``report.html``; returns their paths as ``json``, ``csv`` and ``report``.

        Raises:
            VolumeError: ``unwritable``.
        """
        paths = {"json": self.folder / "predictions.json", "csv": self.folder / "predictions.csv"}
        if self._dirty or not all(path.exists() for path in paths.values()):
            self._tables()
        if self.report and self.records:
            paths["report"] = write_front_page(self.folder, self.records, self._pages)
        return paths

    def _path(self, name: str, kind: str) -> Path:
        return self.folder / f"{name}{ENDINGS[kind]}"

    def _remove(self, name: str, spared: Iterable[str], kinds: Iterable[str]) -> None:
        """Remove files of an earlier result; others of such names are somebody's own, as are inputs, and stay."""
        for kind in kinds:
            path = self._path(name, kind)
            if not any(files.is_same(path, one) for one in spared) and is_ours(path):
                files.remove(path)

    def _evidence(self, view: View, record: dict[str, Any], name: str, paths: dict[str, Path]) -> None:
        evidence = view.evidence
        path = self._path(name, "evidence")
        words = description_of(evidence)
        total = evidence.total
        if self.evidence_dtype == "int16":
            factor = evidence.density_factor if evidence.additive else 1.0
            written = volumes.write_scaled(evidence, path, factor=factor, description=words)
            total = written.total / factor if evidence.additive else total  # a map that is no sum states none
        else:
            volumes.write(view.density, path, description=words)
        paths["evidence"] = path
        stated: dict[str, Any] = {"path": path.name, "label": evidence.label, "unit": evidence.density_unit}
        if not evidence.additive:
            stated["additive"] = False
        # The sum of the file is what a reader finds; what rounding to 16 bits moved is part of its residual.
        lost = evidence.total - total
        record["evidence"] = tables.plain({**stated, "sum": total, "residual": evidence.residual + lost})

    def _draw(self, view: View, name: str, paths: dict[str, Path]) -> None:
        first = view.regions[0] if view.regions else None
        shown = view.planes(first)
        picture = render.overlay(shown, view.window, view.scale, view.caption(), mark=first is not None)
        paths["overlay"] = files.write_bytes(self._path(name, "overlay"), render.png(picture))
        paths["report"] = files.write_text(self._path(name, "report"), page_of(view))

    def _take_over(self) -> None:
        """The rows of the table that lies there, and the names that their files have."""
        path = self.folder / "predictions.json"
        if not path.exists():
            return
        try:
            records = json.loads(path.read_text(encoding="utf-8"))
            maps = [(one["evidence"] or {}).get("path", "").removesuffix(ENDINGS["evidence"]) for one in records]
            tables.to_csv(records)
            if not isinstance(records, list) or any("error" not in one for one in records):
                raise TypeError
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise MedAttnError(
                "bad_argument", f"{path}: it is no table of results that rows can be added to; choose another folder"
            ) from error
        for name in maps:
            page = self._path(self._names.take(name), "report") if name else None
            self._pages.append(page.name if page and is_ours(page) else None)
        self.records = records

    def _append(self, record: dict[str, Any], own_page: str | None) -> None:
        self.records.append(record)
        self._pages.append(own_page)
        self._dirty = True
        if time.monotonic() - self._written_at >= 20 * self._cost or self._cost < 0.02:
            self._tables()

    def _tables(self) -> None:
        start = time.monotonic()
        page = self.folder / FRONT_PAGE
        if self._written_at == float("-inf") and is_ours(page):  # of an earlier run: it must not pass as this one's
            files.remove(page)
        contents: tuple[tuple[str, Callable[[list[dict[str, Any]]], str]], ...] = (
            ("predictions.json", tables.to_json),
            ("predictions.csv", tables.to_csv),
        )
        for file_name, text in contents:
            files.write_text(self.folder / file_name, text(self.records))
        self._written_at = time.monotonic()
        self._cost = self._written_at - start
        self._dirty = False


def save(
    prediction: Prediction,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    report: bool = True,
    evidence_dtype: str = "int16",
    spared: Iterable[str] = (),
) -> dict[str, Path]:
    """Save one prediction: evidence NIfTI, tables, and with ``report`` overlay PNG and HTML page.

    Args:
        prediction: what to save.
        folder: made if absent; files of the same name in it are replaced.
        name: base name of the files; the input's own name by default.
        report: draw pictures and a page (needs Pillow).
        evidence_dtype: as for :class:`ResultWriter`.
        spared: as for :meth:`ResultWriter.add`.

    Returns:
        Paths by kind: ``evidence``, ``overlay``, ``page`` (of the input), ``report`` (``report.html``, the same for a
        single input), ``json``, ``csv``.

    Raises:
        VolumeError: ``unwritable``.
        MedAttnError: ``missing_dependency``, ``report`` without Pillow; or what kept the evidence from being written.
    """
    with ResultWriter(folder, report=report, evidence_dtype=evidence_dtype) as writer:
        paths = writer.add(prediction, name=name, spared=spared)
    error = writer.records[0]["error"]
    if error is not None:
        raise MedAttnError(error["code"], error["message"])
    return kinds(paths, writer.close())


def kinds(paths: Mapping[str, Path], tables: Mapping[str, Path]) -> dict[str, Path]:
    """Files of one input and of its folder, by kind: ``page`` is that of the input, ``report`` that of the folder."""
    return {"page" if kind == "report" else kind: path for kind, path in paths.items()} | dict(tables)
