"""From jets to an analysis: a search for a resonance, by event models that start from a model of jets, and by jet taggers.

    statecast data simulate events --out events.parquet --events 12000
    python benchmarks/analysis.py --events events.parquet --out runs/analysis [--seed 0] [--steps 300]
        [--override KEY=VALUE ...] [--smoke]

After Vigl, Hartman and Heinrich 2024, "Finetuning foundation models for joint analysis optimization in High Energy Physics"
(arXiv:2401.13536). A resonance of 1.5 TeV decays to two top quarks; QCD and SM top pairs are the background. Each arm gives one score of an
event, the likelihood ratio of signal and expected background; the figure of merit is the expected significance at 139/fb. Cut and bins
are chosen on events of validation, all numbers are of test events. Half of the file is for training, a sixth for validation.

backbone             the recipe jets: hidden particles of single jets, without labels
fine-tuned           the recipe jets-search from the backbone, all weights free
last block           the same, but only the heads, the decoder's last block and what is new are free
frozen               the same, but only the heads and what is new, such as the axis of the jet, the numbers of the event and the query
scratch              new weights, the same steps
taggers, logistic    logistic regression on the scores of a jet tagger (the recipe jets-tag from the backbone) for both jets, their pT
                     and mass, the dijet mass and the missing momentum, fitted to the same events
taggers, boosting    gradient boosting on the same
no tagger, boosting  gradient boosting without the scores

All arms have the same learning rate and number of steps, which nobody has tuned. The tagger has the labels of the jets, events have those
of the processes. Prints significances with 95 % intervals of the test events; `analysis.json` in --out holds them.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from pyarrow.parquet import ParquetFile

from shared import once
from statecast import finetune, pretrain, read_recipe
from statecast.evaluation.bootstrap import Score
from statecast.outputs import new_output
from statecast.particles.evaluation.baselines import fit_classifier, probabilities
from statecast.particles.evaluation.significance import Scored, search_scores, search_table
from statecast.particles.events import Events, dijet_mass, leading_pair, relative_weight
from statecast.particles.inference.search import (
    Experiment,
    cross_sections,
    expected_of,
    process_probabilities,
    read_range,
    search_score,
)
from statecast.particles.inference.tag import class_probabilities
from statecast.particles.sources.simulate import simulate_events
from statecast.trained import TrainedModel

SIGNAL = "Zprime"
JET_SIGNAL, JET_BACKGROUND = "Tbqq", "QCD"
CHANGES = {
    "fine-tuned": {"change": "all"},
    "last block": {"change": "last_blocks", "blocks": 1},
    "frozen": {"change": "heads"},
}
Range = tuple[int, int]


@dataclass(frozen=True)
class Study:
    """How large the whole is.

    parts      first and last event of training, validation and test
    steps      of the backbone, of the tagger, and of each event model
    overrides  of all recipes
    of_jets    overrides of the backbone, from which the tagger inherits them
    """

    events: str
    out: Path
    seed: int
    parts: tuple[Range, Range, Range]
    steps: tuple[int, int, int]
    overrides: tuple[str, ...] = ()
    of_jets: tuple[str, ...] = ()

    @property
    def of_events(self) -> list[str]:
        """Overrides of each event model."""
        train, validate, _ = map(list, self.parts)
        data = {"files": self.events, "train": train, "validate": validate}
        said = [f"data.{key}={json.dumps(value)}" for key, value in data.items()]
        return [*said, f"training.steps={self.steps[2]}", *self.overrides]


def jet_models(study: Study) -> tuple[TrainedModel, TrainedModel]:
    """The backbone and the tagger that starts from it."""
    few = [*study.overrides, *study.of_jets, f"training.steps={study.steps[0]}"]
    backbone = once(study.out / "backbone", partial(pretrain, "jets", study.out / "backbone", overrides=few))
    few = [*study.overrides, f"training.steps={study.steps[1]}"]
    tag = partial(finetune, "jets-tag", backbone, study.out / "tagger", overrides=few)
    return backbone, once(study.out / "tagger", tag)


def event_models(study: Study, backbone: TrainedModel) -> dict[str, TrainedModel]:
    """The arms that read whole events."""
    models = {}
    for name, change in CHANGES.items():
        run = study.out / name.replace(" ", "-")
        overrides = [*study.of_events, *(f"adaptation.{key}={value}" for key, value in change.items())]
        models[name] = once(run, partial(finetune, "jets-search", backbone, run, overrides=overrides))
    recipe = read_recipe("jets-search", study.of_events, inherit=backbone.recipe)
    models["scratch"] = once(study.out / "scratch", partial(pretrain, recipe, study.out / "scratch"))
    return models


def tagger_features(events: Events, tagger: TrainedModel | None) -> Float[np.ndarray, "E F"]:
    """What the classic analysis looks at: logits of the tagger for both jets, their pT and mass, dijet mass, missing momentum."""
    pair = leading_pair(events)
    columns = [np.log1p(jet[name]) for jet in pair for name in ("pt_gev", "mass_gev")]
    columns += [np.log1p(dijet_mass(events)), np.log1p(events.of_events["met_gev"])]
    if tagger is not None:
        classes = list(tagger.codecs["label"].classes)
        said = np.log(np.maximum(class_probabilities(tagger, events.leading(2).jets), 1e-12))
        logit = said[:, classes.index(JET_SIGNAL)] - said[:, classes.index(JET_BACKGROUND)]
        columns += list(logit.reshape(-1, 2).T)
    return np.stack(columns, axis=1)


def run(study: Study) -> list[Score]:
    """The scores of all arms."""
    backbone, tagger = jet_models(study)
    models = event_models(study, backbone)
    names = ("train", "validate", "test")
    parts = {name: read_range([study.events], span) for name, span in zip(names, study.parts, strict=True)}
    experiment = Experiment(SIGNAL)
    sections = cross_sections(Events.joined(list(parts.values())), experiment)
    training = parts["train"].labels
    assert training is not None
    classes, weight = sorted(sections), relative_weight(parts["train"])
    score = partial(search_score, training_labels=training, experiment=experiment, sections=sections)
    found: dict[str, dict[str, np.ndarray]] = {"validate": {}, "test": {}}
    for name, model in models.items():
        for split, scores in found.items():
            scores[name] = score(process_probabilities(model, parts[split]), model.codecs["label"].classes)
    for part, with_tagger in (("taggers", tagger), ("no tagger", None)):
        features = {split: tagger_features(events, with_tagger) for split, events in parts.items()}
        for kind in ("logistic", "boosting"):
            classifier = fit_classifier(kind, features["train"], training, weight=weight, seed=study.seed)
            for split, scores in found.items():
                scores[f"{part}, {kind}"] = score(probabilities(classifier, features[split], classes), classes)
    scored = [_scored(parts[split], scores, experiment, sections) for split, scores in found.items()]
    _print_facts(parts["test"], scored[1], sections)
    return search_scores(scored[0], scored[1], SIGNAL)


def _scored(
    events: Events, scores: Mapping[str, np.ndarray], experiment: Experiment, sections: Mapping[str, float]
) -> Scored:
    assert events.labels is not None
    return Scored(events.labels, expected_of(events, experiment, sections), scores)


def _print_facts(events: Events, scored: Scored, sections: Mapping[str, float]) -> None:
    """Simulated and expected events of each process."""
    for name, section in sections.items():
        chosen = events.labels == name
        print(
            f"{name:8s} {int(chosen.sum()):6d} test events for {scored.expected[chosen].sum():12.0f}, {section:.1f} fb"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", help="file of `statecast data simulate events`")
    parser.add_argument("--out", type=Path, default=Path("runs/analysis"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300, help="of each event model; the backbone has twice as many")
    parser.add_argument("--override", nargs="*", default=[], metavar="KEY=VALUE", help="of all recipes")
    parser.add_argument("--smoke", action="store_true", help="few events and steps, to see that all runs")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.smoke:
        study = _smoke(options.out / "smoke")
    elif options.events is None:
        parser.error("give --events FILE, as `statecast data simulate events` makes it, or --smoke.")
    else:
        steps = (2 * options.steps, options.steps, options.steps)
        overrides = (f"seed={options.seed}", *options.override)
        study = Study(options.events, options.out, options.seed, parts_of(options.events), steps, overrides)
    scores = run(study)
    print("\n".join(search_table(scores)))
    records: list[dict[str, Any]] = [score.record() for score in scores]
    with new_output(study.out / "analysis.json", overwrite=True) as part:
        part.write_text(json.dumps(records, indent=1))


def _smoke(out: Path) -> Study:
    out.mkdir(exist_ok=True)
    file = simulate_events(out / "events.parquet", events=90, workers=1, progress=False)
    tiny = ("training.footprint=false", "training.validation_samples=2", "training.batch_size=2")
    few = ("data.train=[0, 99]", "data.validate=[100, 119]", "streams.codes.size=16", "model.width=32", "model.heads=2")
    return Study(str(file), out, 0, ((0, 29), (30, 59), (60, 89)), (2, 2, 2), tiny, few)


def parts_of(file: str) -> tuple[Range, Range, Range]:
    """The first half of a file for training, a sixth for validation, the rest for the test."""
    events = ParquetFile(file).metadata.num_rows
    half, end = events // 2, events // 2 + events // 6
    return (0, half - 1), (half, end - 1), (end, events - 1)


if __name__ == "__main__":
    main()
