"""Labels of curves, written beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.transforms import Bbox

#: Points between a curve or label and the next label, and places along a curve that are tried.
_GAP, _PLACES = 3.0, 80

#: Farther from anything else than so many points is no better.
_FAR = 24.0


def label_curves(axis: Axes) -> bool:
    """Write beside each curve of a panel its label, away from the other curves and labels.

    Parameters
    ----------
    axis : Axes
        With its curves, in a figure that is laid out.

    Returns
    -------
    bool
        Whether each label has found a place where it covers no other and is not cut.
    """
    courses = [_course(axis, line) for line in axis.lines]
    point = axis.figure.dpi / 72
    frame = axis.get_window_extent().padded(-point).extents
    taken, found = np.empty((0, 4)), True
    for line, own in zip(axis.lines, courses, strict=True):
        if not len(own):
            continue  # nothing of it was decided
        label = axis.text(0, 0, line.get_label(), color=line.get_color(), fontsize="small")
        label.set(ha="left", va="bottom", in_layout=False)
        label.set_bbox({"facecolor": "white", "alpha": 0.6, "linewidth": 0, "pad": 0.6})
        others = np.concatenate([np.empty((0, 2)), *(c for c in courses if c is not own)])
        boxes = _boxes(own, label.get_window_extent(), _GAP * point)
        room = _distances(boxes, others).min(axis=1, initial=_FAR * point)
        room -= 1e3 * (_distances(boxes, own).min(axis=1) < 0.9 * _GAP * point)
        room -= 1e3 * _overlap(boxes, taken).any(axis=1)
        room -= 1e4 * ((boxes[:, :2] < frame[:2]) | (boxes[:, 2:] > frame[2:])).any(axis=1)
        best, found = boxes[room.argmax()], found and room.max() >= 0
        taken = np.concatenate([taken, [best + _GAP * point * np.array([-1, -1, 1, 1])]])
        label.set_position(axis.transData.inverted().transform(best[:2]))
    return found


def _course(axis: Axes, line: Line2D) -> np.ndarray:
    """Return points along a curve as it is drawn, closely spaced, in pixels."""
    x, y = (np.asarray(values, dtype=float) for values in line.get_data())
    known = ~np.isnan(y)
    x, y = x[known], y[known]
    if line.get_drawstyle() == "steps-pre":
        x, y = np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:]
    elif line.get_drawstyle() == "steps-post":
        x, y = np.repeat(x, 2)[1:], np.repeat(y, 2)[:-1]
    corners = axis.transData.transform(np.column_stack([x, y]))
    if len(corners) < 2:
        return corners
    lengths = np.hypot(*np.diff(corners, axis=0).T)
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    places = np.arange(0.0, along[-1], 2.0)
    return np.column_stack([np.interp(places, along, corners[:, k]) for k in (0, 1)])


def _boxes(course: np.ndarray, extent: Bbox, gap: float) -> np.ndarray:
    """Return where a label may stand: at eight sides of places along its curve."""
    size = np.array([extent.width, extent.height])
    places = course[np.linspace(0, len(course) - 1, _PLACES).astype(int)]
    sides = np.array([(i, j) for i in (1, 0, -1) for j in (1, 0, -1) if (i, j) != (0, 0)])
    centres = places[:, np.newaxis] + sides * (size / 2 + gap)
    return np.concatenate([centres - size / 2, centres + size / 2], axis=-1).reshape(-1, 4)


def _distances(boxes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return how far each point is from each box: 0 inside it."""
    below = boxes[:, np.newaxis, :2] - points
    above = points - boxes[:, np.newaxis, 2:]
    return np.hypot(*np.moveaxis(np.maximum(np.maximum(below, above), 0), -1, 0))


def _overlap(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Tell which boxes overlap which others."""
    low, high = boxes[:, np.newaxis, :2], boxes[:, np.newaxis, 2:]
    return ((low < others[:, 2:]) & (others[:, :2] < high)).all(axis=-1)
