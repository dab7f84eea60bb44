"""A codebook of particles: which code a particle has, and which particles a code stands for.

Two ways to make one: centres of k-means, and a vector-quantised autoencoder (van den Oord et al. 2017; for jets Golling et al. 2024). Both
remember some particles of the training split for each code. A code is decoded to one of them at random, so that decoded particles have the
distribution of the training split inside each cell, also of what the codebook does not look at, such as the charge.

Axes: N particle, F feature, V code, M member of a cell, L latent dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, one_hot

from statecast.particles.features import MOMENTA, POSITION
from statecast.particles.jets import PARTICLE_KINDS, JetError

KIND_WEIGHT = (
    2.0  # distance between two kinds, in standard deviations: cells of k-means then hold one kind almost always
)
MEMBERS = 32  # remembered particles of a code
FITTED_ON = 200_000  # particles: enough for hundreds of a code
HIDDEN, LATENT = 96, 6  # sizes of the autoencoder
STEPS, BATCH, LEARNING_RATE = 2500, 512, 2e-3  # of its training: half a minute on one CPU core with 512 codes
COMMITMENT = 0.25
KIND_LOSS = 1.0  # of a nat about the kind, against a unit of squared error: with 0.5 64 codes ignore the kind
CHUNK = 2**14  # particles encoded at once


@dataclass(frozen=True)
class Codebook:
    """Cells of particles. A particle belongs to the code whose centre is nearest to it, after the encoder if there is one.

    names         of the features of a member
    looked_at     features that determine the code, with the kind
    centres       of the cells
    members       features of remembered particles, normalised
    member_kinds  their kinds, `UNKNOWN` where it is not known
    encoder       from features and kind to the space of the centres; None: that space itself
    """

    names: tuple[str, ...]
    looked_at: tuple[str, ...]
    centres: Float[Tensor, "V L"]
    members: Float[Tensor, "V M F"]
    member_kinds: Int[Tensor, "V M"]
    encoder: nn.Sequential | None = None

    @property
    def size(self) -> int:
        return len(self.centres)

    @property
    def is_used(self) -> Bool[Tensor, " V"]:
        """False for a code that no particle has: k-means, or an autoencoder, left its cell empty."""
        return self.centres.isfinite().all(dim=-1)

    @torch.no_grad()
    def assign(
        self, features: Float[Tensor, "N F"], kinds: Int[Tensor, " N"], names: Sequence[str]
    ) -> Int[Tensor, " N"]:
        """The code of each particle; `names` of its normalised features."""
        columns = [list(names).index(name) for name in self.looked_at]
        codes = [
            nearest(self._in_space(some[:, columns], theirs), self.centres)
            for some, theirs in zip(features.split(CHUNK), kinds.split(CHUNK), strict=True)
        ]
        return torch.cat(codes) if codes else kinds.new_zeros(0)

    def _in_space(self, looked_at: Float[Tensor, "N F"], kinds: Int[Tensor, " N"]) -> Float[Tensor, "N L"]:
        inputs = with_kinds(looked_at, kinds)
        return inputs if self.encoder is None else self.encoder(inputs)

    def decode(
        self, codes: Int[Tensor, "*B"], generator: torch.Generator
    ) -> tuple[Float[Tensor, "*B F"], Int[Tensor, "*B"]]:
        """Features and kind of a remembered particle of each code, at random."""
        drawn = torch.randint(self.members.shape[1], codes.shape, generator=generator)
        return self.members[codes, drawn], self.member_kinds[codes, drawn]

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a file has to hold, by name."""
        found = {"centres": self.centres, "members": self.members, "member_kinds": self.member_kinds}
        if self.encoder is not None:
            found |= {f"encoder.{name}": value for name, value in self.encoder.state_dict().items()}
        return found

    @classmethod
    def of_tensors(cls, tensors: dict[str, Tensor], names: Sequence[str], looked_at: Sequence[str]) -> Self:
        """The inverse of `tensors`."""
        weights = {key.removeprefix("encoder."): value for key, value in tensors.items() if key.startswith("encoder.")}
        encoder = None
        if weights:
            encoder = perceptron(len(looked_at) + len(PARTICLE_KINDS), LATENT)
            encoder.load_state_dict(weights)
        centres, members, kinds = (tensors[key] for key in ("centres", "members", "member_kinds"))
        return cls(tuple(names), tuple(looked_at), centres, members, kinds, encoder)


@dataclass(frozen=True)
class Residuals:
    """A second code, of where in its cell a particle lies: the first says where the cell is, and how large.

    middles, spreads  mean and standard deviation in each cell, of the features that determine the code
    centres           of the second code, in units of the spread
    members           remembered places in a cell, in units of its spread, for each second code

    Residual vector quantisation (Juang & Gray 1982): V cells of V' parts each are described by V + V' codes.
    """

    middles: Float[Tensor, "V G"]
    spreads: Float[Tensor, "V G"]
    centres: Float[Tensor, "R G"]
    members: Float[Tensor, "R M G"]

    @property
    def size(self) -> int:
        return len(self.centres)

    @property
    def is_used(self) -> Bool[Tensor, " R"]:
        """False for a code that no particle has."""
        return self.centres.isfinite().all(dim=-1)

    def assign(self, looked_at: Float[Tensor, "N G"], codes: Int[Tensor, " N"]) -> Int[Tensor, " N"]:
        """The second code of particles whose first is known."""
        places = (torch.nan_to_num(looked_at) - self.middles[codes]) / self.spreads[codes]
        parts = [nearest(some, self.centres) for some in places.split(CHUNK)]
        return torch.cat(parts) if parts else codes.new_zeros(0)

    def decode(
        self, codes: Int[Tensor, "*B"], residuals: Int[Tensor, "*B"], generator: torch.Generator
    ) -> Float[Tensor, "*B G"]:
        """The features of a remembered place of each second code, in the cell of the first."""
        drawn = torch.randint(self.members.shape[1], codes.shape, generator=generator)
        return self.middles[codes] + self.spreads[codes] * self.members[residuals, drawn]

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a file has to hold, by name."""
        return {name: getattr(self, name) for name in ("middles", "spreads", "centres", "members")}


def fit_residuals(
    looked_at: Float[Tensor, "N G"], codes: Int[Tensor, " N"], cells: int, size: int, seed: int
) -> Residuals:
    """The second code of normalised particles of the training split, from their first."""
    looked_at, counts = torch.nan_to_num(looked_at), torch.bincount(codes, minlength=cells).clamp(min=1)[:, None]
    middles = looked_at.new_zeros(cells, looked_at.shape[1]).index_add(0, codes, looked_at) / counts
    squares = torch.zeros_like(middles).index_add(0, codes, (looked_at - middles[codes]) ** 2)
    spreads = (squares / counts).sqrt()
    spreads = torch.where(spreads > 0, spreads, 1.0)
    random = np.random.default_rng([seed, len(codes)])
    chosen = torch.from_numpy(np.sort(random.permutation(len(codes))[:FITTED_ON]))
    places = ((looked_at - middles[codes]) / spreads[codes])[chosen]
    centres = _fit_kmeans(places, size, seed)
    centres, own = without_empty(centres, nearest(places, centres))
    rows = members_of(own.numpy(), size, random)
    return Residuals(middles, spreads, centres, places[rows])


def fit_codebook(
    features: Float[Tensor, "N F"], kinds: Int[Tensor, " N"], names: Sequence[str], size: int, method: str, seed: int
) -> Codebook:
    """A codebook of normalised particles of the training split. Raises JetError for fewer particles than codes."""
    if len(features) < size:
        raise JetError(
            f"the training split has {len(features)} particles, expected at least {size}, one for each code. Lower size."
        )
    random = np.random.default_rng([seed, len(features)])
    chosen = torch.from_numpy(np.sort(random.permutation(len(features))[:FITTED_ON]))
    features, kinds = torch.nan_to_num(features[chosen]), kinds[chosen]
    looked_at = (*POSITION, next(name for name in MOMENTA if name in names))
    columns = features[:, [list(names).index(name) for name in looked_at]]
    inputs, encoder = with_kinds(columns, kinds), None
    if method == "vqvae":
        centres, encoder = _fit_autoencoder(inputs, size, seed)
    else:
        centres = _fit_kmeans(inputs, size, seed)
    with torch.no_grad():
        codes = nearest(inputs if encoder is None else encoder(inputs), centres)
    centres, codes = without_empty(centres, codes)
    rows = members_of(codes.numpy(), size, random)
    return Codebook(tuple(names), looked_at, centres, features[rows], kinds[rows], encoder)


def without_empty(
    centres: Float[Tensor, "V L"], codes: Int[Tensor, " N"]
) -> tuple[Float[Tensor, "V L"], Int[Tensor, " N"]]:
    """The centres that have particles first, the others at infinity, and the codes by their new numbers."""
    used = torch.unique(codes)
    far = torch.full((len(centres) - len(used), centres.shape[1]), torch.inf)
    return torch.cat([centres[used], far]), torch.searchsorted(used, codes)


def with_kinds(looked_at: Float[Tensor, "N F"], kinds: Int[Tensor, " N"]) -> Float[Tensor, "N G"]:
    """Features with the kind as further dimensions; 0 in all of them for an unknown kind, or an unknown feature."""
    of_kind = one_hot(kinds + 1, len(PARTICLE_KINDS) + 1)[:, 1:]
    return torch.cat([torch.nan_to_num(looked_at), of_kind * (KIND_WEIGHT / 2**0.5)], dim=-1)


def nearest(points: Float[Tensor, "N L"], centres: Float[Tensor, "V L"]) -> Int[Tensor, " N"]:
    """The centre that is nearest to each point; a centre at infinity is that of none."""
    squares = centres.square().sum(dim=-1)
    distance = torch.addmm(squares, points, torch.nan_to_num(centres, posinf=0.0).T, alpha=-2)
    return distance.argmin(dim=-1)


def members_of(codes: Int[np.ndarray, " N"], size: int, random: np.random.Generator) -> Int[np.ndarray, "V M"]:
    """Rows of `MEMBERS` random particles of each code; with repetition where a code has fewer, and any where it has none."""
    order = random.permutation(len(codes))
    order = order[np.argsort(codes[order], kind="stable")]
    counts = np.bincount(codes, minlength=size)
    first = np.minimum(np.cumsum(counts) - counts, len(codes) - 1)
    return order[first[:, None] + np.arange(MEMBERS) % np.maximum(counts, 1)[:, None]]


def perceptron(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, outputs)
    )


def _fit_kmeans(inputs: Float[Tensor, "N G"], size: int, seed: int) -> Float[Tensor, "V G"]:
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError:
        raise JetError("a codebook by k-means needs scikit-learn. Install statecast[hep].") from None
    fitted = MiniBatchKMeans(size, batch_size=4096, n_init=1, max_iter=30, random_state=seed, reassignment_ratio=0.001)
    fitted.fit(inputs.numpy())
    return torch.from_numpy(fitted.cluster_centers_).float()


def _fit_autoencoder(inputs: Float[Tensor, "N G"], size: int, seed: int) -> tuple[Float[Tensor, "V L"], nn.Sequential]:
    """Centres and encoder, trained to reconstruct features and kind; the global random state is left unchanged."""
    try:
        from vector_quantize_pytorch import VectorQuantize
    except ImportError:
        raise JetError("a codebook by vqvae needs vector-quantize-pytorch. Install statecast[hep].") from None
    values = inputs.shape[1] - len(PARTICLE_KINDS)
    is_known = inputs[:, values:].any(dim=-1)
    kinds = torch.where(is_known, inputs[:, values:].argmax(dim=-1), -100)  # -100: no part of the loss
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, decoder = perceptron(inputs.shape[1], LATENT), perceptron(LATENT, inputs.shape[1])
        quantise = VectorQuantize(
            LATENT, size, kmeans_init=True, threshold_ema_dead_code=2, commitment_weight=COMMITMENT, decay=0.9
        )
        weights = [*encoder.parameters(), *decoder.parameters()]
        optimiser = torch.optim.Adam(weights, LEARNING_RATE)
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
        for _ in range(STEPS):
            rows = torch.randint(len(inputs), (min(BATCH, len(inputs)),))
            quantised, _, commitment = quantise(encoder(inputs[rows])[None])
            decoded = decoder(quantised[0])
            loss = mse_loss(decoded[:, :values], inputs[rows, :values]) + commitment.sum()
            if is_known[rows].any():
                loss = loss + KIND_LOSS * cross_entropy(decoded[:, values:], kinds[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            decay.step()
    return quantise.codebook.detach().clone(), encoder.requires_grad_(False)
