"""What images add to the verification of samples: peers, scores of pictures, and examples for the report.

Axes: N token, P value in a token, T time, V channel, H row, W column, K class.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from statecast.evaluation.scores import Means
from statecast.images.box_codec import BoxCodec
from statecast.images.codec import MaskCodec, PixelCodec
from statecast.images.evaluation import baselines
from statecast.images.evaluation.scores import Found, overlaps, picture_scores, ssim, without_doubles
from statecast.images.source import ImageSource, Sample
from statecast.labels import LabelCodec
from statecast.models import Prediction
from statecast.streams import Question, Tokens
from statecast.trained import TrainedModel

MOST_TRAINING = 5000  # samples that logistic regression learns from, at most
THRESHOLD_SAMPLES = 50  # that say whether objects are brighter than the background
LEAST_SCORE = 0.05  # of an object that counts as found
EXAMPLES = 4  # pictures of the report


@dataclass
class Example:
    """One question with what each forecast answered, for a picture; `answers`: by stream, then by forecast."""

    sample: Sample
    question: Question
    answers: dict[str, dict[str, Prediction]] = field(default_factory=dict)


@dataclass
class PictureJudge:
    """Peers, statistics and scores of pictures; it keeps some examples, and all objects that were found.

    held_out  the split that is verified on
    found     objects of each picture, by forecast
    """

    trained: TrainedModel
    held_out: ImageSource
    examples: dict[int, Example] = field(default_factory=dict)
    found: dict[str, list[Found]] = field(default_factory=dict)

    def peers(self, number: int, question: Question, name: str) -> Mapping[str, Prediction]:
        """Peers of the model for this stream; what it keeps of the sample is its own business."""
        codec, asked = self.trained.codecs[name], question.queries[name]
        if question.asks == "places":
            seen = question.context[name]
            return {"chance": Prediction(logits=torch.zeros(1, len(asked), len(seen)))}
        if question.asks == "replaced":
            return {}
        if isinstance(codec, PixelCodec):
            return self._of_pixels(codec, question, name)
        if isinstance(codec, MaskCodec):
            return self._of_mask(codec, number)
        if isinstance(codec, LabelCodec) and codec.classes:
            return self._of_class(codec, name, number)
        return {}

    def statistics(
        self, number: int, question: Question, name: str, forecast: str, said: Prediction
    ) -> Mapping[str, float]:
        """Those of `picture_scores`."""
        if number in self._shown:
            example = self.examples.setdefault(number, Example(self.sample(number), question))
            example.answers.setdefault(name, {})[forecast] = said
        codec, asked = self.trained.codecs[name], question.queries[name]
        if question.asks != "tokens" or said.members is None:
            return {}
        values = answer_of(said, asked)
        if isinstance(codec, PixelCodec):
            return self._pixel_statistics(codec, question, name, values)
        if isinstance(codec, MaskCodec):
            truth = self.sample(number).mask
            classes = codec.values[1:] if len(codec.values) == 2 else codec.values
            if truth is None:
                return {}
            true = np.array(codec.values)[codec.classes(truth)]
            return overlaps(codec.mask(values), true, classes)
        if isinstance(codec, BoxCodec):
            self._keep_objects(codec, number, forecast, said, values)
        return {}

    def scores(self, means: Means, members: int) -> Mapping[str, Float[np.ndarray, "*A"]]:
        return picture_scores(means, members)

    def sample(self, number: int) -> Sample:
        """A held-out sample as it is."""
        return self.held_out.sample(self.held_out.record.tiles[number])

    @cached_property
    def _shown(self) -> set[int]:
        """Numbers of the examples, spread evenly."""
        count = len(self.held_out.record)
        return set(np.linspace(0, count - 1, min(count, EXAMPLES)).round().astype(int).tolist())

    @cached_property
    def training(self) -> ImageSource:
        source: Any = self.trained.domain.open(self.trained.recipe, "train", self.trained.codecs)
        return source

    @property
    def pixel_stream(self) -> tuple[str, PixelCodec]:
        """The first stream of pixels, from which the peers of masks and labels are computed."""
        codecs = self.trained.codecs
        return next((name, codec) for name, codec in codecs.items() if isinstance(codec, PixelCodec))

    # Pixels

    @cached_property
    def value_range(self) -> float:
        """From 0 to 1 for pictures of whole numbers, else what the training samples span."""
        record = self.training.record
        values = [record.pixels(tile) for tile in record.tiles[:THRESHOLD_SAMPLES]]
        lowest, highest = (float(f([f(each) for each in values])) for f in (np.nanmin, np.nanmax))
        return 1.0 if lowest >= 0 and highest <= 1 else highest - lowest

    def _of_pixels(self, codec: PixelCodec, question: Question, name: str) -> dict[str, Prediction]:
        asked = question.queries[name]
        found = {"mean": as_prediction(torch.zeros_like(asked.values))}
        shown = question.context.get(name)
        if shown is None:
            return found
        assert shown.index is not None and asked.index is not None
        known = known_values(shown, len(shown) + len(asked))
        if torch.isin(asked.index, shown.index).any():  # denoising: all is visible, but wrong
            noisy = codec.pixels(known[: int(shown.index.max()) + 1])
            filtered = codec.tokens(baselines.local_mean(noisy)).values
            return (
                found
                | {"as shown": as_prediction(codec.tokens(noisy).values[asked.index])}
                | {"local mean": as_prediction(filtered[asked.index])}
            )
        filled = baselines.interpolated(codec.pixels(known))
        return found | {"linear interpolation": as_prediction(codec.tokens(filled).values[asked.index])}

    def _pixel_statistics(
        self, codec: PixelCodec, question: Question, name: str, values: Float[np.ndarray, "N P"]
    ) -> dict[str, float]:
        asked = question.queries[name]
        channels = len(codec.channels)
        scale = torch.tensor(codec.std).repeat_interleave(asked.values.shape[-1] // channels).numpy()
        wrong = ((values - asked.values.numpy()) * scale) ** 2
        seen = asked.observed.numpy()
        squared = float(wrong[seen].mean()) if seen.any() else float("nan")
        found = {"squared_error_pixels": squared, "squared_error_range": squared / self.value_range**2}
        answered, true = (whole(codec, question, name, each)[0] for each in (values, asked.values.numpy()))
        if np.isfinite(true).all():
            found["ssim"] = ssim(answered, true, self.value_range)
        return found

    # Masks, objects and labels

    @cached_property
    def _polarity(self) -> float:
        """1 where objects are brighter than the background in the training samples, else -1."""
        brighter = 0.0
        for tile in self.training.record.tiles[:THRESHOLD_SAMPLES]:
            sample = self.training.sample(tile)
            if sample.mask is not None and 0 < (is_object := sample.mask != 0).mean() < 1:
                brightness = self.brightness(sample)
                brighter += brightness[is_object].mean() - brightness[~is_object].mean()
        return 1.0 if brighter >= 0 else -1.0

    def brightness(self, sample: Sample) -> Float[np.ndarray, "H W"]:
        """The mean of the channels of the first frame."""
        return sample.pixels[0].mean(axis=0)

    def _of_mask(self, codec: MaskCodec, number: int) -> dict[str, Prediction]:
        if len(codec.values) != 2:
            return {}
        brightness = self._polarity * self.brightness(self.sample(number))
        is_object = brightness > baselines.otsu_threshold(brightness)
        chosen = np.array(codec.values)[is_object.astype(int)]
        return {"threshold": as_prediction(codec.tokens(chosen).values)}

    @cached_property
    def _logistic(self) -> dict[str, Any]:
        """Logistic regression on pixels for each label that is a class, by stream."""
        name, _ = self.pixel_stream
        cases = self.training.cases()
        chosen = np.unique(np.linspace(0, len(cases) - 1, min(len(cases), MOST_TRAINING)).round().astype(int))
        windows = [cases[int(number)] for number in chosen]
        features = np.stack([window[name].values.flatten().numpy() for window in windows])
        fitted = {}
        for label, codec in self.trained.codecs.items():
            if isinstance(codec, LabelCodec) and codec.classes:
                codes = np.array([int(window[label].codes[0]) for window in windows])  # type: ignore[index]
                labels = np.array(codec.classes)[codes[codes >= 0]]
                fitted[label] = baselines.fit_logistic(features[codes >= 0], labels.tolist())
        return fitted

    def _of_class(self, codec: LabelCodec, name: str, number: int) -> dict[str, Prediction]:
        window = self.held_out.window(number)
        features = window[self.pixel_stream[0]].values.flatten().numpy()[None]
        probability = baselines.logistic_probabilities(self._logistic[name], features, codec.classes)
        logits = torch.from_numpy(np.log(probability)).float()
        return {"logistic on pixels": Prediction(logits=logits[None])}

    def _keep_objects(
        self, codec: BoxCodec, number: int, forecast: str, said: Prediction, values: Float[np.ndarray, "N P"]
    ) -> None:
        sample = self.sample(number)
        if sample.boxes is None:
            return
        if forecast == "model":
            brightness = self.brightness(sample)
            named = codec.classes[0]
            candidates = [
                baselines.components(brightness * sign > baselines.otsu_threshold(brightness * sign), brightness, named)
                for sign in (1.0, -1.0)
            ]
            for sign, each in zip(("bright", "dark"), candidates, strict=True):
                self.found.setdefault(f"{sign} components", []).append(each)
        if forecast != "marginal":
            self.found.setdefault(forecast, []).append(objects(codec, said, values))


def objects(codec: BoxCodec, said: Prediction, values: Float[np.ndarray, "N P"]) -> Found:
    """The objects that an answer stands for, without doubles, the most probable first."""
    assert said.logits is not None
    probability = said.logits[0].softmax(dim=-1).cpu().numpy()[:, 1:]
    edges, best = codec.edges(values), probability.argmax(axis=1)
    scores = 1 - said.logits[0].softmax(dim=-1).cpu().numpy()[:, 0]
    edges = np.clip(edges, 0, [codec.shape[2], codec.shape[1]] * 2)
    found = Found(edges, scores, np.array(codec.classes)[best])
    return without_doubles(found[np.flatnonzero(scores >= LEAST_SCORE)])


def as_prediction(values: Float[torch.Tensor, "N P"]) -> Prediction:
    """Values of asked tokens as the answer of a single member."""
    return Prediction(values[None, :, None])


def answer_of(said: Prediction, asked: Tokens) -> Float[np.ndarray, "N P"]:
    """The mean of the members for every asked token, also where one answer stands for all."""
    assert said.members is not None
    members = said.members[0, : len(asked)].expand(len(asked), -1, -1)
    return members.mean(dim=-2).cpu().numpy()


def known_values(shown: Tokens, most: int) -> Float[np.ndarray, "N P"]:
    """What is visible of a stream, at the places of its tokens in the window; NaN elsewhere."""
    assert shown.index is not None
    known = np.full((most, shown.values.shape[-1]), np.nan, np.float32)
    known[shown.index.numpy()] = np.where(shown.observed.numpy(), shown.values.numpy(), np.nan)
    return known


def whole(
    codec: PixelCodec, question: Question, name: str, values: Float[np.ndarray, "N P"] | None
) -> Float[np.ndarray, "T V H W"]:
    """The picture with `values` where tokens are asked and the visible pixels elsewhere; None: NaN where tokens are asked."""
    shown, asked = question.context.get(name), question.queries[name]
    assert asked.index is not None
    lattice = codec.spec.lattice
    tokens = np.full((lattice[0] * lattice[1] * lattice[2], codec.spec.size), np.nan, np.float32)
    if shown is not None:
        tokens = known_values(shown, len(tokens))
    if values is not None:
        tokens[asked.index.numpy()] = values
    elif shown is None or not torch.isin(asked.index, shown.index).any():  # type: ignore[arg-type]
        tokens[asked.index.numpy()] = np.nan
    return codec.pixels(tokens)
