"""A benchmark: what a file asks, put to a language model; scores with intervals, and each answer, in a directory."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from statecast.evaluation.progress import progress_bar
from statecast.evaluation.verification import Verification, write_scores
from statecast.outputs import new_output
from statecast.text.benchmarks.language import LanguageModel, language_model, log_likelihoods
from statecast.text.benchmarks.metrics import of_chance, of_choices, of_perplexity, of_texts
from statecast.text.benchmarks.questions import LETTERS, Benchmark, BenchmarkError, Choice, Pair, read_benchmark
from statecast.trained import TrainedModel

By = Literal["letter", "text"]
Report = Callable[[float], None]


@dataclass(frozen=True)
class BenchmarkResult:
    """Scores, and what the model answered to each case."""

    verifications: Sequence[Verification]
    answers: Sequence[dict[str, Any]]

    def table(self) -> list[list[str]]:
        """Every score with its 95 % interval."""
        rows = [["task", "forecast", "metric", "value", "95 % interval", "cases"]]
        for each in self.verifications:
            for record in each.records():
                interval = f"{record['low']:.4g} to {record['high']:.4g}"
                rows.append(
                    [
                        record["task"],
                        record["forecast"],
                        record["metric"],
                        f"{record['value']:.4g}",
                        interval,
                        str(record["n"]),
                    ]
                )
        return rows


def benchmark(
    file: str | Path,
    model: str | TrainedModel | None = None,
    out: str | Path | None = None,
    *,
    by: By = "letter",
    examples: str | Path | None = None,
    shots: int = 0,
    tokens: int = 64,
    overwrite: bool = False,
    progress: bool = False,
) -> BenchmarkResult:
    """Ask a language model what a file asks, see `questions.read_benchmark`. Written to the directory `out` if it is given.

    model     a run or a model of texts with the task `next`, or hf:PATH_OR_ID; None for predictions that are given
    by        letter: the choices stand in the prompt and the most likely letter is the answer (Hendrycks et al. 2021); text: the choice
              whose text is most likely for its number of bytes, as `acc_norm` of lm-eval
    examples  a file of answered questions, of which the first `shots` of the same subject stand before each question
    tokens    of a continuation, at most

    `scores.json` and `scores.nc` hold the scores, `answers.jsonl` each answer. Raises BenchmarkError, TextError, EncoderError or ModelError
    in one line.
    """
    asked = read_benchmark(file)
    before = read_benchmark(examples).choices if examples is not None else ()
    if shots and not before:
        raise BenchmarkError(
            "shots: there are no examples. Name a file of answered questions by examples, or ask without any."
        )
    needs_model = asked.choices or asked.texts or any(pair.prompt is not None for pair in asked.pairs)
    if needs_model and model is None:
        raise BenchmarkError(f"{file}: asks a model, and none is given. Name a run, or hf:PATH_OR_ID.")
    speaker = language_model(model) if needs_model and model is not None else None
    with progress_bar("answers", progress) as report:
        result = _result(asked, speaker, by, _Prompts(by, before, shots), tokens, report)
    if out is not None:
        with new_output(out, overwrite=overwrite) as directory:
            directory.mkdir()
            write_scores(result.verifications, directory)
            lines = [json.dumps(answer, ensure_ascii=False) + "\n" for answer in result.answers]
            (directory / "answers.jsonl").write_text("".join(lines), encoding="utf-8")
    return result


def _result(
    asked: Benchmark, speaker: LanguageModel | None, by: By, prompts: "_Prompts", tokens: int, report: Report
) -> BenchmarkResult:
    if asked.pairs:
        return _of_pairs(asked.pairs, speaker, tokens, report)
    assert speaker is not None
    if asked.choices:
        return _of_choices(asked.choices, speaker, by, prompts, report)
    return _of_perplexity(asked.texts, speaker, report)


@dataclass(frozen=True)
class _Prompts:
    """How a question is put."""

    by: By
    examples: Sequence[Choice]
    shots: int

    def context(self, choice: Choice) -> str:
        same = [each for each in self.examples if each.subject == choice.subject and each != choice][: self.shots]
        shown = [self._question(each) + self.answers(each)[each.answer] for each in same]
        about = f" about {choice.subject}" if choice.subject else ""
        header = f"The following are multiple choice questions (with answers){about}." if self.by == "letter" else ""
        return "\n\n".join([*([header] if header else []), *shown, self._question(choice)])

    def _question(self, choice: Choice) -> str:
        if self.by == "text":
            return f"Question: {choice.question.strip()}\nAnswer:"
        listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, choice.choices, strict=False))
        return f"{choice.question.strip()}\n{listed}\nAnswer:"

    def answers(self, choice: Choice) -> list[str]:
        """What each choice is called in an answer."""
        return [f" {LETTERS[n] if self.by == 'letter' else text}" for n, text in enumerate(choice.choices)]


def _of_choices(
    choices: Sequence[Choice], speaker: LanguageModel, by: By, prompts: _Prompts, report: Report
) -> BenchmarkResult:
    likelihoods, answers = [], []
    for number, choice in enumerate(choices):
        context, texts = prompts.context(choice), prompts.answers(choice)
        found = [each.nats for each in log_likelihoods(speaker, context, texts)]
        if by == "text":
            found = [nats / len(text.encode()) for nats, text in zip(found, texts, strict=True)]
        likelihoods.append(found)
        said = int(np.argmax(found))
        answers.append(
            {
                "subject": choice.subject,
                "question": choice.question,
                "answer": LETTERS[choice.answer],
                "chosen": LETTERS[said],
                "log_likelihoods": found,
            }
        )
        report((number + 1) / len(choices))
    whole = of_choices("model", [choice.answer for choice in choices], likelihoods)
    chance = of_chance([len(choice.choices) for choice in choices])
    return BenchmarkResult([whole, chance, *_by_subject(choices, whole)], answers)


def _by_subject(choices: Sequence[Choice], whole: Verification) -> list[Verification]:
    subjects = list(dict.fromkeys(choice.subject for choice in choices))
    if len(subjects) < 2:
        return []
    of_subject = [np.array([choice.subject == subject for choice in choices]) for subject in subjects]
    return [
        replace(whole.of_cases(chosen), task=f"{whole.task}: {subject}")
        for subject, chosen in zip(subjects, of_subject, strict=True)
    ]


def _of_pairs(pairs: Sequence[Pair], speaker: LanguageModel | None, tokens: int, report: Report) -> BenchmarkResult:
    answers = []
    for number, pair in enumerate(pairs):
        if pair.prompt is None:
            said = pair.prediction
        else:
            assert speaker is not None
            said = speaker.continued(pair.prompt, tokens).strip()
        answers.append({"prompt": pair.prompt, "prediction": said, "reference": list(pair.references)})
        report((number + 1) / len(pairs))
    predictions = [str(answer["prediction"]) for answer in answers]
    return BenchmarkResult([of_texts("model", predictions, [pair.references for pair in pairs])], answers)


def _of_perplexity(texts: Sequence[str], speaker: LanguageModel, report: Report) -> BenchmarkResult:
    found = []
    for number, text in enumerate(texts):
        found += log_likelihoods(speaker, "", [text])
        report((number + 1) / len(texts))
    nats, tokens = [-each.nats for each in found], [each.tokens for each in found]
    answers = [{"text": text, "nats": n, "tokens": t} for text, n, t in zip(texts, nats, tokens, strict=True)]
    return BenchmarkResult([of_perplexity("model", nats, tokens, texts)], answers)
