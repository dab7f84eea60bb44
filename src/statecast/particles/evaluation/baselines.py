"""What models of jets are compared with: classifiers on substructure, and jets of independent constituents.

Axes: J jet, N constituent of all jets, F feature, C class.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Shaped

from statecast.particles.jets import Jets, wrapped

Kind = Literal["logistic", "boosting"]


def fit_classifier(
    kind: Kind,
    features: Float[np.ndarray, "J F"],
    labels: Shaped[np.ndarray, " J"],
    *,
    weight: Float[np.ndarray, " J"] | None = None,
    seed: int = 0,
) -> Any:
    """A classifier on features of jets, from scikit-learn; `weight` is that of each jet in its loss.

    logistic  logistic regression on standardised features
    boosting  gradient boosting of histograms, which stops early on a tenth of the jets if there are 1000 or more
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if kind == "logistic":
        model: Any = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        return model.fit(features, labels, logisticregression__sample_weight=weight)
    smallest_leaf = min(20, max(1, len(labels) // 10))
    model = HistGradientBoostingClassifier(
        early_stopping=len(labels) >= 1000, min_samples_leaf=smallest_leaf, random_state=seed
    )
    return model.fit(features, labels, sample_weight=weight)


def probabilities(model: Any, features: Float[np.ndarray, "J F"], classes: Sequence[str]) -> Float[np.ndarray, "J C"]:
    """The probability of each of `classes`, in their order, whatever the order in which the classifier holds them."""
    of_model = [str(name) for name in model.classes_]
    return model.predict_proba(features)[:, [of_model.index(name) for name in classes]]


def independent_constituents(jets: Jets, count: int, generator: np.random.Generator) -> Jets:
    """Jets with the right number of constituents and the right distribution of each, but without any relation among them.

    A jet takes its multiplicity and momentum from a jet drawn at random. Each constituent is drawn from all constituents of all jets: its
    place relative to the axis of its jet and its fraction of the jet's pT. The constituents need not sum to the momentum of the jet.
    """
    chosen = generator.integers(len(jets), size=count)
    multiplicity = jets.multiplicity[chosen]
    offsets = np.concatenate([[0], np.cumsum(multiplicity)])
    drawn = generator.integers(len(jets.particles["pt_gev"]), size=offsets[-1])
    from_jet = np.repeat(np.arange(len(jets)), jets.multiplicity)[drawn]
    to_jet = np.repeat(chosen, multiplicity)
    particles = {name: column[drawn] for name, column in jets.particles.items()}
    of_jets = {name: column[chosen] for name, column in jets.of_jets.items()}
    particles["pt_gev"] = particles["pt_gev"] / jets.of_jets["pt_gev"][from_jet] * jets.of_jets["pt_gev"][to_jet]
    particles["eta"] = particles["eta"] - jets.of_jets["eta"][from_jet] + jets.of_jets["eta"][to_jet]
    turned = particles["phi"] - jets.of_jets["phi"][from_jet] + jets.of_jets["phi"][to_jet]
    particles["phi"] = wrapped(turned)
    hardest_first = np.lexsort((-particles["pt_gev"], np.repeat(np.arange(count), multiplicity)))
    particles = {name: column[hardest_first] for name, column in particles.items()}
    labels = None if jets.labels is None else jets.labels[chosen]
    return Jets(offsets, particles, of_jets, labels)
