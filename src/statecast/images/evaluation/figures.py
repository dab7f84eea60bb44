"""Pictures of answers. Axes: T time, V channel, H row, W column, N token, P value in a token."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from statecast.images.box_codec import BoxCodec
from statecast.images.channels import COLOURS, MADE, as_colours
from statecast.images.codec import MaskCodec, PixelCodec
from statecast.labels import LabelCodec

if TYPE_CHECKING:
    from statecast.images.evaluation.judge import Example, PictureJudge

SIDE = 1.7  # inches of a picture
LEAST_DRAWN = 0.3  # probability of a box that is drawn
HIDDEN = 0.55  # grey of what is hidden
FAINT = 0.2  # of the range of whole numbers: a microscope often fills less


def as_shown(pixels: Float[np.ndarray, "V H W"], names: Sequence[str]) -> Float[np.ndarray, "H W C"]:
    """A picture for the eye: colours where the channels have them or make them, else the first channel in grey, from 0 to 1."""
    names = tuple(names)
    if set(MADE) <= set(names):
        pixels, names = as_colours(pixels[None], names)[0], COLOURS
    chosen = [names.index(colour) for colour in COLOURS] if set(COLOURS) <= set(names) else [0, 0, 0]
    picture = pixels[chosen].transpose(1, 2, 0)
    low, high = np.nanmin(picture), np.nanmax(picture)
    if low < -0.5 or high > 1.5 or high < FAINT:  # an answer may overshoot a little
        picture = (picture - low) / max(high - low, 1e-9)
    return np.where(np.isnan(picture), HIDDEN, np.clip(picture, 0, 1))


def table_of(rows: int, columns: Sequence[str]) -> tuple[Figure, np.ndarray]:
    """A figure with a picture in each place of a table, its columns named."""
    figure = Figure(figsize=(SIDE * len(columns), SIDE * rows + 0.3), layout="constrained")
    axes = figure.subplots(rows, len(columns), squeeze=False)
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=8)
    return figure, axes


def answered(judge: "PictureJudge", examples: Sequence["Example"], name: str) -> Figure:
    """What was visible, what each forecast made of it, and the truth."""
    forecasts = [each for each in examples[0].answers[name] if each != "marginal"]
    others = [each for each in forecasts if each != "model"]
    figure, axes = table_of(len(examples), ["visible", *others, "model", "truth"])
    for row, example in zip(axes, examples, strict=True):
        asked = example.question.queries[name]
        pictures = [_together(judge, example, name, None)]
        for forecast in (*others, "model"):
            said = example.answers[name][forecast]
            assert said.members is not None
            members = said.members[0, : len(asked)].expand(len(asked), -1, -1)
            pictures.append(_together(judge, example, name, members.mean(dim=-2).cpu().numpy()))
        pictures.append(_together(judge, example, name, asked.values.numpy()))
        for axis, picture in zip(row, pictures, strict=True):
            axis.imshow(picture, interpolation="nearest")
    return figure


def _together(
    judge: "PictureJudge", example: "Example", name: str, values: Float[np.ndarray, "N P"] | None
) -> Float[np.ndarray, "H W C"]:
    """The answered stream with those that are visible, so that brightness and colour differences make one picture."""
    from statecast.images.evaluation.judge import whole

    codec = judge.trained.codecs[name]
    own = whole(codec, example.question, name, values)[0]
    parts, names = [own], list(codec.channels)
    for other, tokens in example.question.context.items():
        beside = judge.trained.codecs[other]
        if other != name and isinstance(beside, PixelCodec):
            parts.append(beside.pixels(tokens.values.numpy())[0])
            names += beside.channels
    if values is None and len(parts) > 1 and np.isnan(own).all():
        return as_shown(np.concatenate(parts[1:]), names[len(codec.channels) :])
    return as_shown(np.concatenate(parts), names)


def arranged(codec: PixelCodec, examples: Sequence["Example"], name: str) -> Figure:
    """The pieces as they were shown, as the model arranged them, and as they belong; the frames of a film beside or below one another."""
    figure, axes = table_of(len(examples), ["shown", "model", "truth"])
    for row, example in zip(axes, examples, strict=True):
        question, said = example.question, example.answers[name]["model"]
        shown, asked = question.context[name].values.numpy(), question.queries[name]
        assert said.logits is not None and asked.index is not None and asked.codes is not None
        places = np.argsort(asked.index.numpy())
        chosen = {
            "shown": np.arange(len(places)),
            "model": said.logits[0].argmax(dim=-1).cpu().numpy()[places],
            "truth": asked.codes.numpy()[places],
        }
        for axis, which in zip(row, chosen.values(), strict=True):
            frames = codec.pixels(shown[which])
            strip = [as_shown(frame, codec.channels) for frame in frames]
            is_wide = strip[0].shape[1] > strip[0].shape[0]
            axis.imshow(np.concatenate(strip, axis=0 if is_wide else 1), interpolation="nearest")
    return figure


def segmented(codec: MaskCodec, examples: Sequence["Example"], name: str) -> Figure:
    """The picture, its true mask, and the mask of each forecast."""
    forecasts = [each for each in examples[0].answers[name] if each != "marginal"]
    figure, axes = table_of(len(examples), ["picture", "truth", *forecasts])
    for row, example in zip(axes, examples, strict=True):
        asked = example.question.queries[name]
        row[0].imshow(as_shown(example.sample.pixels[0], example.sample.channels), interpolation="nearest")
        masks = [codec.mask(asked.values.numpy())]
        for forecast in forecasts:
            members = example.answers[name][forecast].members
            assert members is not None
            masks.append(codec.mask(members[0, : len(asked)].mean(dim=-2).cpu().numpy()))
        for axis, mask in zip(row[1:], masks, strict=True):
            axis.imshow(mask, vmin=min(codec.values), vmax=max(codec.values), interpolation="nearest", cmap="viridis")
    return figure


def boxed(codec: BoxCodec, examples: Sequence["Example"], name: str) -> Figure:
    """The pictures with true boxes, and with those of the model."""
    from statecast.images.evaluation.judge import answer_of, objects

    figure, axes = table_of(len(examples), ["truth", "model"])
    for row, example in zip(axes, examples, strict=True):
        said, asked = example.answers[name]["model"], example.question.queries[name]
        found = objects(codec, said, answer_of(said, asked))
        for axis in row:
            axis.imshow(as_shown(example.sample.pixels[0], example.sample.channels), interpolation="nearest")
        for edges in [] if example.sample.boxes is None else example.sample.boxes.edges:
            _draw(row[0], edges, "white")
        for edges, score in zip(found.edges, found.scores, strict=True):
            if score >= LEAST_DRAWN:
                _draw(row[1], edges, "#ff8c1a")
                row[1].text(edges[0], edges[1], f"{score:.2f}", color="#ff8c1a", fontsize=5, va="bottom")
    return figure


def _draw(axis: Axes, edges: Sequence[float], colour: str) -> None:
    left, top, right, bottom = (float(edge) - 0.5 for edge in edges)  # a picture's first pixel is drawn about 0
    axis.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=0.8))


def classified(codec: LabelCodec, examples: Sequence["Example"], name: str) -> Figure:
    """Each picture with its true class and the most probable one."""
    figure, axes = table_of(1, [""] * len(examples))
    for axis, example in zip(axes[0], examples, strict=True):
        said, asked = example.answers[name]["model"], example.question.queries[name]
        assert said.logits is not None and asked.codes is not None
        probability = said.logits[0, 0].softmax(dim=-1)
        code = int(asked.codes[0])
        true = codec.classes[code] if code >= 0 else "unknown"
        axis.imshow(as_shown(example.sample.pixels[0], example.sample.channels), interpolation="nearest")
        best = codec.classes[int(probability.argmax())]
        axis.set_title(f"{true}: {best} ({float(probability.max()):.2f})", fontsize=8)
    return figure
