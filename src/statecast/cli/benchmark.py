"""The command that benchmarks a language model."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from statecast.cli.options import Overwrite, Quiet
from statecast.cli.printing import print_path, print_table


def benchmark(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="CSV, JSONL or Parquet: question, choices (or A, B, C, D) and answer, as of MMLU; prompt and reference; prediction and "
            "reference; or text. YAML: a task of lm-eval with questions as its examples.",
        ),
    ],
    *,
    model: Annotated[
        str | None,
        typer.Option(
            help="Run of the task next on texts, or hf:PATH_OR_ID, a causal model of Hugging Face in safetensors."
        ),
    ] = None,
    by: Annotated[
        Literal["letter", "text"],
        typer.Option(
            help="letter: choices stand in the prompt, the most likely letter counts; text: the most likely text per byte."
        ),
    ] = "letter",
    examples: Annotated[
        str | None, typer.Option(help="File of answered questions to show before each question.")
    ] = None,
    shots: Annotated[int, typer.Option(help="How many of them, of the same subject.", min=0, max=100)] = 0,
    tokens: Annotated[int, typer.Option(help="Tokens of a continuation, at most.", min=1, max=10_000)] = 64,
    out: Annotated[
        Path | None, typer.Option(help="Directory for scores.json and answers.jsonl; none if not given.")
    ] = None,
    overwrite: Overwrite = False,
    quiet: Quiet = False,
) -> None:
    """Ask a language model the questions of FILE: accuracy, F1, BLEU, ROUGE, METEOR or perplexity, with intervals."""
    from statecast.text.benchmarks.benchmark import benchmark as run_benchmark

    result = run_benchmark(
        file,
        model,
        out,
        by=by,
        examples=examples,
        shots=shots,
        tokens=tokens,
        overwrite=overwrite,
        progress=not quiet,
    )
    print_table("benchmark", result.table())
    if out is not None:
        print_path("scores", out / "scores.json")
