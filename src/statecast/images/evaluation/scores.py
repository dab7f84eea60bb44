"""Scores of pictures. Axes: H row, W column, K class, O object found, G true object."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped

from statecast.evaluation.samples import sample_scores
from statecast.evaluation.scores import Means

SSIM_WINDOW = 11  # pixels of the Gaussian window of SSIM (Wang et al. 2004)
IOU = 0.5  # of a box that counts as found with the true one (PASCAL VOC)


def ssim(one: Float[np.ndarray, "V H W"], other: Float[np.ndarray, "V H W"], data_range: float) -> float:
    """Structural similarity, mean over the picture and its channels; 1 for equal pictures, NaN for those smaller than its window.

    Wang et al. 2004, as torchmetrics computes it.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(one.shape[-2:]) < SSIM_WINDOW:
        return float("nan")
    ours, theirs = (torch.from_numpy(np.ascontiguousarray(each, np.float32))[None] for each in (one, other))
    return float(structural_similarity_index_measure(ours, theirs, data_range=data_range))  # type: ignore[arg-type]


def overlaps(found: Int[np.ndarray, "H W"], truth: Int[np.ndarray, "H W"], classes: Sequence[int]) -> dict[str, float]:
    """Shares of the pixels that are of a class in both, in what was found, and in truth: the statistics of `picture_scores`."""
    shares: dict[str, float] = {}
    for value in classes:
        here, there = found == value, truth == value
        shares[f"both_{value}"] = float((here & there).mean())
        shares |= {f"found_{value}": float(here.mean()), f"true_{value}": float(there.mean())}
    return shares


def picture_scores(means: Means, members: int) -> dict[str, Float[np.ndarray, "*A"]]:
    """`sample_scores`, and of pictures, where there are the statistics:

    rmse_pixels  in the units of the pictures
    psnr_db      10 log10(range² / mean squared error), with the squared error in units of the range
    ssim         see there
    dice, iou    2 |A ∩ B| / (|A| + |B|) and |A ∩ B| / |A ∪ B| over all pixels of all pictures, mean over the classes
    """
    found = dict(sample_scores(means, members))
    if "squared_error_pixels" in means:
        found["rmse_pixels"] = np.sqrt(means["squared_error_pixels"])
        with np.errstate(divide="ignore"):
            found["psnr_db"] = -10 * np.log10(means["squared_error_range"])
    if "ssim" in means and np.isfinite(means["ssim"]).all():
        found["ssim"] = means["ssim"]
    classes = [name.removeprefix("both_") for name in means if name.startswith("both_")]
    if classes:
        dice, iou = [], []
        for value in classes:
            both, sums = means[f"both_{value}"], means[f"found_{value}"] + means[f"true_{value}"]
            dice.append(np.where(sums > 0, 2 * both / np.maximum(sums, 1e-12), np.nan))
            iou.append(np.where(sums > 0, both / np.maximum(sums - both, 1e-12), np.nan))
        found |= {"dice": np.nanmean(dice, axis=0), "iou": np.nanmean(iou, axis=0)}
    return found


@dataclass(frozen=True)
class Found:
    """Objects found in one picture: edges (left, upper, right, lower), score and class of each."""

    edges: Float[np.ndarray, "O 4"]
    scores: Float[np.ndarray, " O"]
    classes: Shaped[np.ndarray, " O"]

    def __getitem__(self, chosen: np.ndarray) -> "Found":
        return Found(self.edges[chosen], self.scores[chosen], self.classes[chosen])


def box_iou(one: Float[np.ndarray, "O 4"], other: Float[np.ndarray, "G 4"]) -> Float[np.ndarray, "O G"]:
    """Area that two boxes share over the area that they cover together."""
    corner = np.maximum(one[:, None, :2], other[None, :, :2])
    opposite = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (opposite - corner).clip(min=0).prod(axis=-1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (one, other)]
    return shared / np.maximum(areas[0][:, None] + areas[1] - shared, 1e-12)


def without_doubles(found: Found, iou: float = IOU) -> Found:
    """The best of boxes of a class that overlap by more than `iou` (non-maximum suppression), the best first."""
    order = np.argsort(-found.scores, kind="stable")
    kept: list[int] = []
    overlap = box_iou(found.edges, found.edges)
    for number in order:
        same = [other for other in kept if found.classes[other] == found.classes[number]]
        if not (overlap[number, same] > iou).any():
            kept.append(int(number))
    return found[np.array(kept, int)]


def average_precision(
    found: Sequence[Found],
    truth: Sequence[Float[np.ndarray, "G 4"]],
    classes: Sequence[Sequence[str]],
    iou: float = IOU,
) -> float:
    """Area under the curve of precision against recall, mean over the classes that occur; 1 is perfect.

    A box counts if it overlaps a true one of its class, which no better box has taken, by `iou` or more. Precision at a recall is the best
    at this recall or beyond (PASCAL VOC since 2010). `classes`: of the true objects.
    """
    names = sorted({name for of_picture in classes for name in of_picture})
    return float(np.mean([_of_class(name, found, truth, classes, iou) for name in names])) if names else float("nan")


def _of_class(
    name: str,
    found: Sequence[Found],
    truth: Sequence[Float[np.ndarray, "G 4"]],
    classes: Sequence[Sequence[str]],
    iou: float,
) -> float:
    true = [
        edges[[each == name for each in of]] if len(edges) else edges for edges, of in zip(truth, classes, strict=True)
    ]
    of_class = [each[np.flatnonzero(each.classes == name)] for each in found]
    entries = [
        (score, picture, number) for picture, each in enumerate(of_class) for number, score in enumerate(each.scores)
    ]
    taken = [np.zeros(len(edges), bool) for edges in true]
    right = []
    for _, picture, number in sorted(entries, key=lambda entry: -entry[0]):
        overlap = box_iou(of_class[picture].edges[[number]], true[picture])[0] if len(true[picture]) else np.zeros(0)
        overlap = np.where(taken[picture], -1.0, overlap)
        best = int(overlap.argmax()) if len(overlap) else -1
        hit = best >= 0 and overlap[best] >= iou
        if hit:
            taken[picture][best] = True
        right.append(hit)
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(hits) + 1) if len(hits) else np.zeros(0)
    best_beyond = np.maximum.accumulate(precision[::-1])[::-1]
    return float((best_beyond * np.array(right, float)).sum() / max(1, sum(map(len, true))))
