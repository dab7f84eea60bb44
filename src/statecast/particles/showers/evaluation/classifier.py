"""A classifier of voxels: can a network tell generated from true showers?

Axes: S shower, V voxel, F feature.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from statecast.particles.evaluation.tagging import auc
from statecast.particles.showers.sources.files import Showers

PARTS = (0.6, 0.2)  # of the showers: training, choice of the epoch; the rest is scored
WIDTH, EPOCHS, BATCH = 256, 30, 128
LEARNING_RATE = 5e-4


def voxel_features(showers: Showers) -> Float[np.ndarray, "S F"]:
    """Cube roots of the voxels over the incident energy, and the logarithm of that."""
    incident = showers.incident_mev[:, None].astype(np.float32)
    return np.concatenate([np.cbrt(showers.voxels_mev / incident), np.log10(incident)], axis=1)


def voxel_auc(truth: Showers, generated: Showers, *, seed: int = 0, epochs: int = EPOCHS) -> tuple[float, int, int]:
    """AUC of a perceptron that tells generated from true showers by their voxels, and how many of each it is scored on.

    0.5: told apart no better than by chance. Three parts of the showers, as in the CaloChallenge, are learned from, used to choose the
    epoch, and scored; of few showers a classifier learns little, so values compare only between equal numbers of them. Its features are
    standardised cube roots, by which it sees faint voxels, too.
    """
    parts = [_split(voxel_features(showers), seed + number) for number, showers in enumerate((truth, generated))]
    learned = np.concatenate([part[0] for part in parts])
    mean, std = learned.mean(axis=0), learned.std(axis=0)
    std[std < 1e-6] = 1
    sets = []
    for place in range(3):
        features = torch.from_numpy(np.concatenate([(part[place] - mean) / std for part in parts])).float()
        is_generated = torch.cat([torch.zeros(len(parts[0][place])), torch.ones(len(parts[1][place]))])
        sets.append((features, is_generated))
    model = _fitted(sets[0], sets[1], seed, epochs)
    score = _scores(model, sets[2][0])
    return auc(score, sets[2][1].numpy() > 0), len(parts[1][2]), len(parts[0][2])


def _split(features: Float[np.ndarray, "S F"], seed: int) -> list[np.ndarray]:
    shuffled = features[np.random.default_rng(seed).permutation(len(features))]
    ends = (np.cumsum(PARTS) * len(features)).astype(int)
    return np.split(shuffled, ends)


def _fitted(
    learned: tuple[torch.Tensor, torch.Tensor], chosen: tuple[torch.Tensor, torch.Tensor], seed: int, epochs: int
) -> nn.Module:
    """The weights of the epoch with the best AUC on the second part."""
    features, is_generated = learned
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(features.shape[1], WIDTH),
            nn.LeakyReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.LeakyReLU(),
            nn.Linear(WIDTH, 1),
        )
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE, weight_decay=1e-2)
    shuffle = torch.Generator().manual_seed(seed)
    best, kept = -1.0, {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(epochs):
        for batch in torch.randperm(len(features), generator=shuffle).split(BATCH):
            loss = nn.functional.binary_cross_entropy_with_logits(model(features[batch])[:, 0], is_generated[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        found = auc(_scores(model, chosen[0]), chosen[1].numpy() > 0)
        if found > best:
            best, kept = found, {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return model


@torch.no_grad()
def _scores(model: nn.Module, features: torch.Tensor) -> np.ndarray:
    return model(features)[:, 0].numpy()
