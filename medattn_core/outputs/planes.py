"""Planes of a volume in anatomical display, whatever its axis order. numpy only.

Radiological convention: axial and coronal pictures are seen from the feet and from the front, so the patient's right
lies on the left; anterior is up in axial, superior is up in coronal and sagittal; sagittal pictures face left.
Oblique grids are shown on their own nearest planes: nothing is resampled out of plane, and the caption says so. A plane
is oblique by its normal: turned within itself it shows the same slice, and its caption says "turned".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from medattn_core.outputs.text import letter_mm
from medattn_core.volumes import geometry
from medattn_core.volumes.volume import Volume

OBLIQUE_DEGREES = 5.0
"""Angle from which a plane is called oblique, turned or sheared."""

_NAMES = ("sagittal", "coronal", "axial")  # by the world axis R, A, S that the plane is normal to
_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A volume's grid turned to its nearest axes: index 0 grows to R, 1 to A, 2 to S. Views, no copies.

    Attributes:
        axes, signs: as :func:`medattn_core.volumes.geometry.axis_order`.
        affine: ``(4, 4)``, turned index to RAS mm.
        shape, spacing: of the turned grid; spacing in mm.
        known: False where the file states no orientation (no letters).
        scaled: False where it states no pixel size (no lengths).
    """

    axes: tuple[int, ...]
    signs: tuple[int, ...]
    affine: np.ndarray
    shape: tuple[int, ...]
    spacing: np.ndarray
    known: bool
    scaled: bool

    @classmethod
    def of(cls, volume: Volume) -> Frame:
        """The frame of a volume."""
        axes, signs = geometry.axis_order(volume.affine)
        turn = np.zeros((4, 4))
        turn[3, 3] = 1.0
        for world, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
            turn[axis, world] = sign
            turn[axis, 3] = 0.0 if sign > 0 else volume.shape[axis] - 1
        affine = volume.affine @ turn
        return cls(
            axes=tuple(axes),
            signs=tuple(signs),
            affine=affine,
            shape=tuple(volume.shape[axis] for axis in axes),
            spacing=geometry.spacing(affine),
            known=volume.orientation_known,
            scaled=volume.spacing_known,
        )

    def turn(self, data: np.ndarray) -> np.ndarray:
        """A view of native ``(I, J, K)`` voxels with axes R, A, S."""
        return data.transpose(self.axes)[tuple(slice(None, None, sign) for sign in self.signs)]

    def index(self, world: np.ndarray) -> tuple[int, int, int]:
        """The turned voxel nearest to a RAS position, kept inside the grid."""
        nearest = np.rint(np.round(geometry.to_index(self.affine, world), 6)).astype(int)
        inside = np.clip(nearest, 0, np.array(self.shape) - 1)
        return int(inside[0]), int(inside[1]), int(inside[2])

    def centre(self) -> np.ndarray:
        """RAS mm of the middle of the grid, ``(3,)``."""
        return geometry.to_world(self.affine, (np.array(self.shape) - 1) / 2)

    def tilt(self, normal: int) -> float:
        """Angle in degrees between the normal of a plane and the world axis that it stands for."""
        first, second = (self.affine[:3, axis] / self.spacing[axis] for axis in range(3) if axis != normal)
        across = np.cross(first, second)
        return _degrees(abs(across[normal]) / float(np.linalg.norm(across)))

    def turned(self, normal: int) -> float:
        """Angle in degrees by which the axes in a plane are both off their world axes, the smaller of the two."""
        return min(_degrees(abs(self.affine[a, a]) / self.spacing[a]) for a in range(3) if a != normal)

    def sheared(self, normal: int) -> float:
        """Departure in degrees of the two axes in a plane from a right angle."""
        first, second = (self.affine[:3, axis] / self.spacing[axis] for axis in range(3) if axis != normal)
        return 90.0 - _degrees(abs(float(first @ second)))

    def letters(self, axis: int) -> tuple[str, str]:
        """Sides that turned axis ``axis`` runs to and comes from; two letters where it runs well in between."""
        direction = self.affine[:3, axis] / self.spacing[axis]
        order = np.argsort(-np.abs(direction))
        ahead = behind = ""
        for world in order[:2]:
            if abs(direction[world]) > 0.25 or not ahead:
                positive = direction[world] > 0
                ahead += _LETTERS[world][0 if positive else 1]
                behind += _LETTERS[world][1 if positive else 0]
        return ahead, behind

    def normals(self) -> list[int]:
        """World axes normal to the planes worth showing: axial, coronal, sagittal, or the one plane of a slice."""
        thin = [axis for axis in range(3) if self.shape[axis] == 1]
        return [thin[-1]] if thin else [2, 1, 0]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One plane through a point, as lies on screen: rows from top to bottom, columns from left to right.

    Attributes:
        name: ``"axial"``, ``"coronal"``, ``"sagittal"``, or ``"image"`` where the geometry is unknown.
        caption: what is shown where, for a person.
        image: ``(rows, columns)`` native voxel values.
        density: ``(rows, columns)`` evidence density.
        size_mm: ``(height, width)``.
        mark: ``(row, column)`` of the point, in voxels from the top left corner of the picture.
        letters: left, right, top, bottom; empty where unknown.
        scaled: whether millimetres are millimetres.
        outline: ``(rows, columns)`` boolean, what is to be outlined; None for nothing.
    """

    name: str
    caption: str
    image: np.ndarray
    density: np.ndarray
    size_mm: tuple[float, float]
    mark: tuple[float, float]
    letters: tuple[str, str, str, str]
    scaled: bool = True
    outline: np.ndarray | None = None


def _degrees(cosine: float) -> float:
    return float(np.degrees(np.arccos(min(cosine, 1.0))))


def planes_through(
    volume: Volume, density: np.ndarray, world: np.ndarray | None, outline: np.ndarray | None = None
) -> list[Plane]:
    """The planes of a volume and a map on its grid through a RAS position (the middle for None).

    Three planes of a volume: axial, coronal, sagittal. One of a slice or 2D picture. ``outline`` is a boolean mask on
    the same grid, whose border is to be drawn.
    """
    frame = Frame.of(volume)
    point = frame.centre() if world is None else np.asarray(world, dtype=float)
    index = frame.index(point)
    image, evidence = frame.turn(volume.data), frame.turn(density)
    planes = []
    for normal in frame.normals():
        across, down = (axis for axis in range(3) if axis != normal)
        pick = tuple(index[axis] if axis == normal else slice(None, None, -1) for axis in range(3))
        left, right = frame.letters(across)
        top, bottom = frame.letters(down)
        planes.append(
            Plane(
                name=_NAMES[normal] if frame.known else "image",
                caption=_caption(frame, normal, index),
                image=image[pick].T,
                density=evidence[pick].T,
                outline=None if outline is None else frame.turn(outline)[pick].T,
                size_mm=(
                    float(frame.shape[down] * frame.spacing[down]),
                    float(frame.shape[across] * frame.spacing[across]),
                ),
                mark=(frame.shape[down] - 0.5 - index[down], frame.shape[across] - 0.5 - index[across]),
                letters=(left, right, top, bottom) if frame.known else ("", "", "", ""),
                scaled=frame.scaled,
            )
        )
    return planes


def _caption(frame: Frame, normal: int, index: tuple[int, int, int]) -> str:
    if not frame.known:
        at, of = index[normal], frame.shape[normal]
        slices = f" \N{MIDDLE DOT} slice {(at if frame.signs[normal] > 0 else of - 1 - at) + 1}" if of > 1 else ""
        return f"The file states no {'orientation' if frame.scaled else 'orientation or pixel size'}{slices}"
    name = _NAMES[normal].capitalize()
    for word, angle in (("oblique", frame.tilt), ("sheared", frame.sheared), ("turned", frame.turned)):
        if angle(normal) > OBLIQUE_DEGREES:
            name += f", {word} {angle(normal):.0f}\N{DEGREE SIGN}"
            break
    place = geometry.to_world(frame.affine, np.array(index))
    return f"{name} \N{MIDDLE DOT} {letter_mm(float(place[normal]), normal)} mm"


def window(volume: Volume) -> tuple[float, float]:
    """Grey window: 1st and 99th percentile of the voxels above the lowest value (the empty background)."""
    values = volume.data.reshape(-1)
    if values.size > 2**24:  # a sixteen-million sample is as good and keeps large scans quick
        values = values[:: values.size // 2**24 + 1]
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    above = values[values > values.min()] if values.size else values
    if not above.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(above, (1.0, 99.0)))
    return (low, high) if high > low else (float(values.min()), max(high, float(values.min()) + 1e-6))


def grey(image: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Windowed ``uint8`` greys."""
    share = (np.nan_to_num(image.astype(np.float64), nan=limits[0]) - limits[0]) / (limits[1] - limits[0])
    return np.round(255.0 * np.clip(share, 0.0, 1.0)).astype(np.uint8)


def _weights(source: int, target: int) -> np.ndarray:
    """Linear interpolation between pixel centres, ``(target, source)``; widened when shrinking: nothing is missed."""
    ratio = source / target
    centres = (np.arange(target) + 0.5) * ratio - 0.5
    reach = max(1.0, ratio)
    distance = np.abs(np.arange(source)[None, :] - np.clip(centres, 0, source - 1)[:, None])
    weights = np.maximum(0.0, 1.0 - distance / reach)
    return weights / weights.sum(axis=1, keepdims=True)


def resize(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A ``(rows, columns)`` picture at another size, edges of the outer pixels on the edges of the picture."""
    values = np.nan_to_num(picture.astype(np.float64), posinf=0.0, neginf=0.0)
    return _weights(values.shape[0], height) @ values @ _weights(values.shape[1], width).T
