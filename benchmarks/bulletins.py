"""Weather and its text in one model: a bulletin that a stated rule makes from the fields is asked from the fields.

    python benchmarks/bulletins.py --out runs/bulletins [--steps 400 400] [--smoke]

The rule: there are three belts, 30 to 60 degrees of the north, 15 degrees on both sides of the equator, and 30 to 60 degrees of the south.
For each, the mean temperature at 2 m and the mean rain at the first step of the window, less its mean for the same month and hour of the
training period, lies in the lowest, middle or highest third of the training period. The text of a time names these six thirds in words:
"North: cold and dry. ..."

A model is pre-trained on both (domain `mixed`, task `masked`), then fine-tuned to answer one of the other: the fields are visible, and
the pieces of words are asked one after the other (task `next`, ask: [bulletin]). Learned from 2000, scored on January and February 2001:

fields      the bulletin that the model draws (the most probable piece at each place)
no fields   the same model shown the fields of another time: what the language alone says
logistic    logistic regression of each third on 30 principal components of the fields of the same time
frequent    the most frequent third of each kind

Prints the share of the six thirds that is right, and the log score of the text in nats a bulletin.
"""

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from jaxtyping import Float, Int
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from shared import PLAIN, once
from statecast import finetune, pretrain, read_recipe
from statecast.answer import predict_question
from statecast.fields.sources import open_fields
from statecast.models.generation import generate
from statecast.streams import Window, stack
from statecast.text.codec import TextCodec
from statecast.trained import TrainedModel

STORE = "sample:atmosphere"
BELTS = {"North": (30.0, 60.0), "Tropics": (-15.0, 15.0), "South": (-60.0, -30.0)}
WORDS = {"t2m": ("cold", "mild", "warm"), "tprate": ("dry", "showery", "wet")}
LAST_LEARNED = "2000-12-20"
HELD_OUT = ("2001-01-01", "2001-02-27")
LONGEST = 64
SPREAD = 4  # every so many of the held-out times is scored
COMPONENTS = 30
TRAINING = {"batch_size": 8, "learning_rate": 2.0e-3, **PLAIN}


def thirds() -> pd.DataFrame:
    """Number 0, 1 or 2 of the third, by time; a column a kind: ('North', 't2m'), ..."""
    dataset = open_fields(STORE)
    columns = {}
    for belt, (south, north) in BELTS.items():
        area = dataset.where((dataset.lat >= south) & (dataset.lat <= north), drop=True)
        weight = np.cos(np.deg2rad(area.lat))
        for variable in WORDS:
            series = area[variable].weighted(weight).mean(["lat", "lon"]).to_pandas()
            columns[belt, variable] = _third(series)
    return pd.DataFrame(columns, index=dataset.indexes["time"])


def _third(series: pd.Series) -> Int[np.ndarray, " T"]:
    learned = series[:LAST_LEARNED]
    usual = learned.groupby([learned.index.month, learned.index.hour]).mean()
    away = series - usual.loc[list(zip(series.index.month, series.index.hour, strict=True))].to_numpy()
    bounds = away[:LAST_LEARNED].quantile([1 / 3, 2 / 3])
    return np.digitize(away, bounds)


def bulletin(row: Mapping[Any, int]) -> str:
    return " ".join(f"{belt}: {' and '.join(WORDS[v][row[belt, v]] for v in WORDS)}." for belt in BELTS)


def read_thirds(text: str) -> list[int]:
    """The six thirds of a text; -1 for one that it does not tell."""
    found = []
    for belt in BELTS:
        sentence = next((part for part in text.split(".") if part.strip().startswith(belt)), "")
        for words in WORDS.values():
            said = [number for number, word in enumerate(words) if word in sentence]
            found.append(said[0] if len(said) == 1 else -1)
    return found


def recipe(table: Path, times: pd.Index) -> dict[str, Any]:
    learned = int((times <= f"{LAST_LEARNED}T23:59").sum())
    text = {"domain": "text", "files": str(table), "key": "time", "shuffle": False}
    weather = yaml.safe_load(yaml.safe_dump(read_recipe("quickstart").as_dict()))
    parts = {
        "weather": {
            "data": weather["data"]
            | {"domain": "fields", "train": ["2000-01-01", LAST_LEARNED], "validate": list(HELD_OUT)},
            "streams": weather["streams"],
            "task": {"kind": "masked", "slabs": 1},
        },
        "text": {
            "data": text | {"train": [0, learned - 1], "validate": [learned, len(times) - 1]},
            "streams": {"bulletin": {"text": "text", "vocabulary": 300, "tokens": LONGEST, "lowercase": True}},
        },
    }
    return {"data": {"domain": "mixed", "parts": parts}}


def windows_of(trained: TrainedModel) -> dict[str, Window]:
    """Every `SPREAD`th window of the held-out period, by time."""
    source = trained.domain.open(trained.recipe, "validate", trained.codecs)
    assert source is not None
    cases = source.cases()
    return {str(cases.labels[n]): cases[n] for n in range(0, len(cases), SPREAD)}


def shuffled(windows: Mapping[str, Window]) -> dict[str, Window]:
    """The same texts, each with the fields of the window that lies half of all windows away."""
    names = list(windows)
    moved = names[len(names) // 2 :] + names[: len(names) // 2]
    return {
        name: windows[other] | {"bulletin": windows[name]["bulletin"]} for name, other in zip(names, moved, strict=True)
    }


@torch.no_grad()
def drawn(trained: TrainedModel, windows: Mapping[str, Window]) -> list[str]:
    """The most probable bulletin of each window."""
    codec: TextCodec = trained.codecs["bulletin"]
    texts = []
    for window in windows.values():
        shown = stack([trained.recipe.task.complete(window).context])
        shown.pop("bulletin")
        places = stack([{"bulletin": codec.tokens(torch.zeros(LONGEST, dtype=torch.int64))}])["bulletin"]
        said = generate(trained.model, shown, "bulletin", places, torch.Generator(), temperature=0, stop=codec.end)
        assert said.codes is not None and said.present is not None
        texts.append(codec.decode(said.codes[0][said.present[0]].tolist()))
    return texts


@torch.no_grad()
def log_score(trained: TrainedModel, windows: Mapping[str, Window]) -> float:
    """Mean of -log p(text) in nats a bulletin."""
    total = 0.0
    for window in windows.values():
        question = trained.recipe.task.complete(window)
        truth, said = question.queries["bulletin"].codes, predict_question(trained, question)["bulletin"].logits
        assert truth is not None and said is not None
        asked = truth >= 0
        total += float(torch.nn.functional.cross_entropy(said[0, : len(truth)][asked], truth[asked], reduction="sum"))
    return total / len(windows)


def by_regression(truth: pd.DataFrame, times: list[str]) -> Float[np.ndarray, "S K"]:
    """What logistic regression on principal components of the fields says."""
    dataset = open_fields(STORE)
    parts = [
        dataset[name].values.reshape(len(dataset.time), -1)
        for name in ("t", "u", "v", "q", "z", "t2m", "msl", "tprate")
    ]
    values = np.concatenate(parts, axis=1)
    is_learned = np.asarray(dataset.indexes["time"] <= f"{LAST_LEARNED}T23:59")
    fit = make_pipeline(StandardScaler(), PCA(COMPONENTS, random_state=0), StandardScaler())
    features = fit.fit(values[is_learned]).transform(values)
    asked = dataset.indexes["time"].get_indexer(pd.to_datetime(times))
    said = []
    for kind in truth.columns:
        model = LogisticRegression(max_iter=1000).fit(features[is_learned], truth[kind].to_numpy()[is_learned])
        said.append(model.predict(features[asked]))
    return np.stack(said, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, nargs=2, default=(400, 400), help="of pre-training and of fine-tuning")
    parser.add_argument("--smoke", action="store_true", help="a moment")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        out = arguments.out or Path(folder)
        run(arguments, out / "smoke" if arguments.smoke else out)


def run(arguments: argparse.Namespace, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    truth = thirds()
    table = pd.DataFrame({"time": truth.index, "text": [bulletin(row) for _, row in truth.iterrows()]})
    table.to_csv(out / "bulletins.csv", index=False)
    first, second = (2, 2) if arguments.smoke else arguments.steps
    model = {"width": 48, "heads": 2} if arguments.smoke else {}
    described = recipe(out / "bulletins.csv", truth.index) | {"model": model}
    masked = {"kind": "masked", "slabs": 1, "hidden": [0.5, 0.9], "asked": 0.5}
    both = described | {"task": masked, "training": TRAINING | {"steps": first}}
    base = once(out / "pretrained", lambda: pretrain(both, out / "pretrained"))
    asked = {"task": {"kind": "next", "ask": ["bulletin"]}, "training": TRAINING | {"steps": second}}
    trained = once(out / "bulletins", lambda: finetune(asked, base, out / "bulletins"))
    windows = windows_of(trained)
    if arguments.smoke:
        windows = dict(list(windows.items())[:2])
    times = list(windows)
    right = truth.loc[pd.to_datetime(times)].to_numpy()
    language = shuffled(windows)
    rows = {
        "fields": np.array([read_thirds(_as_written(text)) for text in drawn(trained, windows)]),
        "no fields": np.array([read_thirds(_as_written(text)) for text in drawn(trained, language)]),
        "logistic": by_regression(truth, times),
        "frequent": np.tile(truth[:LAST_LEARNED].mode().iloc[0].to_numpy(), (len(times), 1)),
    }
    print(
        f"{len(times)} bulletins of {HELD_OUT[0]} to {HELD_OUT[1]}; the share of thirds that is right, and of each kind"
    )
    for name, said in rows.items():
        print(
            f"{name:10s} {(said == right).mean():.3f}   {' '.join(f'{share:.2f}' for share in (said == right).mean(axis=0))}"
        )
    print(
        f"log score, nats a bulletin: fields {log_score(trained, windows):.2f}, no fields {log_score(trained, language):.2f}"
    )
    print(
        f"the first: {drawn(trained, dict(list(windows.items())[:1]))[0]!r}, expected {bulletin(truth.loc[pd.to_datetime(times[0])])!r}"
    )


def _as_written(text: str) -> str:
    """With the capital letters of the belts, which the tokenizer lowers."""
    for belt in BELTS:
        text = text.replace(belt.lower(), belt)
    return text


if __name__ == "__main__":
    main()
