"""What models of pictures are compared with: interpolation, filters, thresholds, connected components, logistic regression.

Axes: S sample, F feature, K class, T time, V channel, H row, W column, O object.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Shaped
from scipy import ndimage
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator

from statecast.images.evaluation.scores import Found

LEVELS = 256  # of the histogram that a threshold is computed from
SMALLEST_OBJECT = 4  # pixels of a component that counts


def interpolated(pixels: Float[np.ndarray, "T V H W"]) -> Float[np.ndarray, "T V H W"]:
    """Pixels that are NaN, by linear interpolation on the triangles between the others; the nearest one outside of them."""
    filled = pixels.copy()
    for frame in filled:
        hidden = np.isnan(frame).any(axis=0)
        if hidden.all():
            frame[:] = 0.0
        elif hidden.any():
            places, values = np.argwhere(~hidden), frame[:, ~hidden].T
            nearest = NearestNDInterpolator(places, values)(np.argwhere(hidden))
            found = _on_triangles(places, values, np.argwhere(hidden))
            frame[:, hidden] = np.where(np.isnan(found), nearest, found).T
    return filled


def _on_triangles(places: np.ndarray, values: np.ndarray, at: np.ndarray) -> np.ndarray:
    if (np.ptp(places, axis=0) == 0).any():  # a line has no triangle
        return np.full((len(at), values.shape[1]), np.nan)
    return LinearNDInterpolator(places, values)(at)


def local_mean(pixels: Float[np.ndarray, "T V H W"]) -> Float[np.ndarray, "T V H W"]:
    """The mean of the 3 × 3 pixels around each."""
    return ndimage.uniform_filter(pixels, size=(1, 1, 3, 3), mode="nearest")


def otsu_threshold(values: Float[np.ndarray, "*A"]) -> float:
    """The threshold that separates two classes of values with the largest variance between their means (Otsu 1979).

    σ²(t) = w₀ w₁ (μ₀ - μ₁)²        w, μ: share and mean of the values below and above t
    """
    counts, edges = np.histogram(values, bins=LEVELS)
    middles = (edges[:-1] + edges[1:]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    sums = np.cumsum(counts * middles)
    mean_below = sums / np.maximum(below, 1)
    mean_above = (np.cumsum((counts * middles)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    between = below[:-1] * above[1:] * (mean_below[:-1] - mean_above[1:]) ** 2
    return float(edges[1 + int(between.argmax())])


def components(is_object: Bool[np.ndarray, "H W"], brightness: Float[np.ndarray, "H W"], name: str) -> Found:
    """The boxes around connected pixels; the score of each is how much its mean differs from that of the background."""
    labels, count = ndimage.label(is_object)
    kept, edges, scores = range(1, count + 1), [], []
    background = brightness[~is_object].mean() if (~is_object).any() else 0.0
    for number, (rows, columns) in zip(kept, ndimage.find_objects(labels), strict=True):
        of_object = labels[rows, columns] == number
        if of_object.sum() >= SMALLEST_OBJECT:
            edges.append([columns.start, rows.start, columns.stop, rows.stop])
            scores.append(abs(brightness[rows, columns][of_object].mean() - background))
    return Found(np.array(edges, float).reshape(-1, 4), np.array(scores), np.full(len(scores), name))


def fit_logistic(features: Float[np.ndarray, "S F"], labels: Sequence[str]) -> Any:
    """Logistic regression on standardised features, by scikit-learn."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(features, list(labels))


def logistic_probabilities(
    model: Any, features: Float[np.ndarray, "S F"], classes: Sequence[str]
) -> Float[np.ndarray, "S K"]:
    """The probability of each of `classes`; a small one of those that the model has not seen."""
    of_model: Shaped[np.ndarray, " K"] = np.array([str(name) for name in model.classes_])
    found = np.full((len(features), len(classes)), 1e-9)
    for place, name in enumerate(classes):
        if name in of_model:
            found[:, place] = model.predict_proba(features)[:, of_model == name][:, 0]
    return found
