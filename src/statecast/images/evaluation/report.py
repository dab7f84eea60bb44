"""The report on a model of images: tables of scores, and a picture of each kind of answer."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from statecast.evaluation.report import section
from statecast.images.box_codec import BoxCodec
from statecast.images.codec import MaskCodec, PixelCodec
from statecast.images.evaluation import figures
from statecast.images.evaluation.judge import PictureJudge
from statecast.labels import LabelCodec

TEXTS = {
    "pixels": "Pixels that the model was asked for, beside what others make of the same visible pixels. RMSE and PSNR are of the asked "
    "pixels alone, in the units of the pictures; SSIM is of the whole picture, visible pixels included.",
    "mask": "What each pixel belongs to; `threshold` is Otsu's.",
    "boxes": "Objects with a score: true boxes in white, those of the model in colour, with their probability.",
    "places": "Pieces whose place was hidden: as they were shown, as the model arranged them, as they belong.",
    "label": "Probability of each class; `logistic on pixels` learned from the same samples as the model.",
}


def sections(judge: PictureJudge, tables: Sequence[tuple[str, list[list[str]]]]) -> list[dict[str, Any]]:
    """One section for each asked stream, the first with the scores of all."""
    found = []
    examples = list(judge.examples.values())
    names = list(dict.fromkeys(name for example in examples for name in example.answers))
    for place, name in enumerate(names):
        kind, figure = _figure(judge, name)
        shown: list[Figure] = [] if figure is None else [figure]
        rows = [rows for _, rows in tables] if place == 0 else []
        found.append(section(f"{tables[0][0]}: {name}", TEXTS.get(kind, ""), shown, tables=rows))
    return found


def _figure(judge: PictureJudge, name: str) -> tuple[str, Figure | None]:
    """What kind of answer it is, and its picture."""
    codec = judge.trained.codecs[name]
    examples = [example for example in judge.examples.values() if name in example.answers]
    asks = examples[0].question.asks
    if asks == "places" and isinstance(codec, PixelCodec):
        return "places", figures.arranged(codec, examples, name)
    if asks != "tokens":
        return "", None
    if isinstance(codec, PixelCodec):
        return "pixels", figures.answered(judge, examples, name)
    if isinstance(codec, MaskCodec):
        return "mask", figures.segmented(codec, examples, name)
    if isinstance(codec, BoxCodec):
        return "boxes", figures.boxed(codec, examples, name)
    if isinstance(codec, LabelCodec) and codec.classes:
        return "label", figures.classified(codec, examples, name)
    return "", None
