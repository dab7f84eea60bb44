"""Evaluation of the next token of texts. Axes: S sample, N token."""

from collections.abc import Mapping

import numpy as np

from statecast.evaluation.bootstrap import Score
from statecast.evaluation.report import score_table, section
from statecast.text.evaluation.answers import Answered, answers
from statecast.text.evaluation.baselines import Bigrams, Unigrams
from statecast.text.evaluation.result import Result, Sums, held_out_source, score_of_sums, training_samples
from statecast.text.inference.generate import generate
from statecast.text.recipe import TextRecipe
from statecast.trained import TrainedModel

EXAMPLES = 5
TEXT = (
    "Each token of documents that training did not see, given those before it in its sample. Perplexity is exp of the mean of -log p: how "
    "many equally probable tokens would be as uncertain. Unigrams and bigrams (Kneser-Ney) count the tokens of training."
)


def evaluate_continuation(models: Mapping[str, TrainedModel], recipe: TextRecipe, *, progress: bool = False) -> Result:
    """Perplexity of the models and of counts, and some texts that the model draws."""
    trained = next(iter(models.values()))
    name, _ = trained.recipe.text
    samples = training_samples(trained)
    vocabulary = trained.codecs[name].spec.vocabulary
    counts: dict[str, Bigrams | Unigrams] = {
        "bigrams": Bigrams.fit(samples, vocabulary),
        "unigrams": Unigrams.fit(samples, vocabulary),
    }
    sums: dict[str, Sums] = {}
    for key, model in models.items():
        source = held_out_source(model, recipe)
        sums[key] = np.array([_sums(each, name) for each in answers(model, source, name, progress=progress)])
    record = held_out_source(trained, recipe).record
    held_out = [record.codes[record.span(number)].numpy() for number in range(len(record))]
    for key, of_counts in counts.items():
        sums[key] = np.array([(of_counts.nats(codes).sum(), len(codes)) for codes in held_out])
    scores: list[Score] = []
    for key, of_key in sums.items():
        scores.append(
            score_of_sums(key, "next", "perplexity", of_key, lambda total: float(np.exp(total[0] / total[1])))
        )
        scores.append(score_of_sums(key, "next", "log_score", of_key, lambda total: float(total[0] / total[1])))
    drawn = generate(trained, texts=EXAMPLES)
    rows = [["drawn by the model"], *([each["text"]] for each in drawn)]
    facts = [("tokens", f"{int(sums['unigrams'][:, 1].sum())} in {len(held_out)} samples")]
    return Result(scores, facts, [section("Next token", TEXT, [], score_table(scores), [rows])])


def _sums(each: Answered, name: str) -> tuple[float, int]:
    """-log p of all tokens of a sample, and their number."""
    assert each.said.logits is not None
    codes = each.question.queries[name].codes
    assert codes is not None
    nats = -each.said.logits.log_softmax(dim=-1).gather(-1, codes[:, None])
    return float(nats.sum()), len(codes)
