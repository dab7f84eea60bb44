"""How near are generated showers to those they learned from? Beside a VAE and a GAN of equal CPU time; and on a new geometry.

    python benchmarks/showers.py [--out runs/shower-benchmark] [--steps 150 700] [--compared 2000] [--smoke] [KEY=VALUE ...]
    python benchmarks/showers.py --transfer 100 1000 [--transfer-steps 200] ...

Showers are those of the parametrisation (`statecast data simulate showers`), not of Geant4. The recipes `showers` and `showers-generate`
are trained in turn; the VAE and the GAN learn as long, in CPU time of one thread, the same normalised values of the same streams, so that
they differ in the model alone. All draw a shower for each incident energy of 2000 held-out showers.

With --transfer the generator goes on with so many showers of the geometry `other`, beside the same recipe from new weights for the same
steps; the statistics of the codecs come from these few showers in both. The score is the mean Wasserstein distance of all observables in
standard deviations. Runs under --out are used again.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from shared import PLAIN, once
from statecast import finetune, pretrain, read_recipe
from statecast.particles.showers.codec import Parts, energies_of
from statecast.particles.showers.evaluation.evaluate import generation_result, held_out_showers, known_showers
from statecast.particles.showers.evaluation.generation import mean_wasserstein, shower_result
from statecast.particles.showers.evaluation.observables import observables
from statecast.particles.showers.evaluation.report import score_tables
from statecast.particles.showers.inference.generate import draw, incident_codec
from statecast.particles.showers.sources.files import Showers
from statecast.particles.showers.sources.simulate import simulate_showers
from statecast.particles.showers.streams import LayerStream, ResponseStream, VoxelStream
from statecast.trained import TrainedModel

LEARNED, HELD_OUT = 20_000, 2000
LATENT, WIDTH, BATCH = 32, 256, 64
SMALL = ("model.width=32", "model.heads=2", "training.batch_size=8")


class Vae(nn.Module):
    """A variational autoencoder with a normal decoder, whose spread is learned for each value (Kingma & Welling 2014)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.encoder = perceptron(size + 1, 2 * LATENT)
        self.decoder = perceptron(LATENT + 1, size)
        self.log_std = nn.Parameter(torch.zeros(size))

    def loss(self, values: Tensor, energy: Tensor) -> Tensor:
        mean, log_std = self.encoder(torch.cat([values, energy], dim=1)).chunk(2, dim=1)
        latent = mean + log_std.exp() * torch.randn_like(mean)
        said = self.decoder(torch.cat([latent, energy], dim=1))
        fit = ((values - said) / self.log_std.exp()) ** 2 / 2 + self.log_std
        divergence = (mean**2 + (2 * log_std).exp() - 1) / 2 - log_std
        return fit.sum(dim=1).mean() + divergence.sum(dim=1).mean()

    def draw(self, energy: Tensor) -> Tensor:
        said = self.decoder(torch.cat([torch.randn(len(energy), LATENT), energy], dim=1))
        return said + self.log_std.exp() * torch.randn_like(said)


class Gan(nn.Module):
    """A Wasserstein GAN with gradient penalty (Gulrajani et al. 2017)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.generator = perceptron(LATENT + size + 1, size)
        self.critic = perceptron(size + 1, 1)

    def draw(self, energy: Tensor) -> Tensor:
        """The noise has as many numbers as a shower has values, so that each can fluctuate by itself."""
        return self.generator(torch.cat([torch.randn(len(energy), LATENT + self.size), energy], dim=1))

    def critic_loss(self, values: Tensor, energy: Tensor) -> Tensor:
        drawn = self.draw(energy).detach()
        between = torch.lerp(values, drawn, torch.rand(len(values), 1)).requires_grad_()
        (slope,) = torch.autograd.grad(self._score(between, energy).sum(), between, create_graph=True)
        penalty = 10 * ((slope.norm(dim=1) - 1) ** 2).mean()
        return self._score(drawn, energy).mean() - self._score(values, energy).mean() + penalty

    def loss(self, energy: Tensor) -> Tensor:
        return -self._score(self.draw(energy), energy).mean()

    def _score(self, values: Tensor, energy: Tensor) -> Tensor:
        return self.critic(torch.cat([values, energy], dim=1))


def perceptron(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(inputs, WIDTH),
        nn.LeakyReLU(0.2),
        nn.Linear(WIDTH, WIDTH),
        nn.LeakyReLU(0.2),
        nn.Linear(WIDTH, outputs),
    )


def train_vae(batch: Callable[[], tuple[Tensor, Tensor]], size: int, seconds: float) -> Vae:
    torch.manual_seed(0)
    model = Vae(size)
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    until = time.process_time() + seconds
    while time.process_time() < until:
        step(optimiser, model.loss(*batch()))
    return model


def train_gan(batch: Callable[[], tuple[Tensor, Tensor]], size: int, seconds: float) -> Gan:
    torch.manual_seed(0)
    model = Gan(size)
    critic = torch.optim.Adam(model.critic.parameters(), 2e-4, betas=(0.5, 0.9))
    generator = torch.optim.Adam(model.generator.parameters(), 2e-4, betas=(0.5, 0.9))
    until = time.process_time() + seconds
    while time.process_time() < until:
        for _ in range(3):
            step(critic, model.critic_loss(*batch()))
        step(generator, model.loss(batch()[1]))
    return model


def step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


class Values:
    """Showers as rows of the normalised values of all streams that a model asks, and back."""

    def __init__(self, trained: TrainedModel) -> None:
        names = [trained.recipe.stream_of(kind) for kind in (ResponseStream, LayerStream, VoxelStream)]
        self.codecs = [(name, trained.codecs[name]) for name in names]
        self.incident = incident_codec(trained)
        self.shape = self.codecs[2][1].shape

    def energy(self, incident_mev: np.ndarray) -> Tensor:
        logs = torch.from_numpy(np.log(incident_mev))
        return ((logs - self.incident.mean) / self.incident.std).float()[:, None]

    def rows(self, showers: Showers, random: np.random.Generator) -> Tensor:
        parts = Parts.of(showers.incident_mev, showers.voxels_mev.reshape(len(showers), *self.shape))
        return torch.cat([codec.tokens(parts, random).values.flatten(1) for _, codec in self.codecs], dim=1)

    def showers(self, rows: Tensor, incident_mev: np.ndarray) -> Showers:
        sizes = [len(codec.coords) * codec.spec.size for _, codec in self.codecs]
        parts = rows.split(sizes, dim=1)
        values = {
            n: part.unflatten(1, (len(c.coords), -1)).numpy() for (n, c), part in zip(self.codecs, parts, strict=True)
        }
        energies = energies_of(values, incident_mev, self.codecs, is_drawn=True)
        return Showers(incident_mev, energies.reshape(len(rows), -1).astype(np.float32))


def baselines(trained: TrainedModel, known: Showers, incident_mev: np.ndarray, seconds: float) -> dict[str, Showers]:
    """Showers of a VAE and of a GAN that have learned for so many seconds of CPU time."""
    values, random = Values(trained), np.random.default_rng(0)
    rows, energy = values.rows(known, random), values.energy(known.incident_mev)

    def batch() -> tuple[Tensor, Tensor]:
        chosen = torch.from_numpy(random.integers(len(rows), size=BATCH))
        return rows[chosen], energy[chosen]

    drawn = {}
    for name, train in (("VAE", train_vae), ("GAN", train_gan)):
        model = train(batch, rows.shape[1], seconds)
        with torch.no_grad():
            drawn[name] = values.showers(model.draw(values.energy(incident_mev)), incident_mev)
    return drawn


def recipes(given: argparse.Namespace, file: Path, learned: int, geometry: str, steps: Sequence[int]) -> list:
    """The recipes of pre-training and of generation."""
    data = {"files": str(file), "geometry": geometry, "train": [0, learned - 1], "validate": None}
    said = [f"data.{key}={json.dumps(value)}" for key, value in data.items()]
    said += [f"training.{key}={json.dumps(value)}" for key, value in PLAIN.items()]
    of_streams = [each for each in given.overrides if each.startswith("streams.")]
    others = [each for each in given.overrides if not each.startswith("streams.")]
    base = read_recipe("showers", [*said, f"training.steps={steps[0]}", *given.overrides])
    plain = [each for each in said if each.startswith("training.")]
    inherit = read_recipe("showers", [*said, *of_streams])
    return [base, read_recipe("showers-generate", [*plain, f"training.steps={steps[1]}", *others], inherit=inherit)]


def generator(given: argparse.Namespace) -> TrainedModel:
    """The pre-trained and fine-tuned model, which is used again if it is there."""
    file = given.out / "small.hdf5"
    simulate_showers(file, showers=given.learned + HELD_OUT, geometry="small", workers=1, progress=False)
    base, generating = recipes(given, file, given.learned, "small", given.steps)
    pretrained = once(given.out / "pretrained", partial(pretrain, base, given.out / "pretrained", progress=False))
    run = given.out / "generator"
    return once(run, partial(finetune, generating, pretrained, run, progress=False))


def seconds_of(run: Path) -> float:
    """CPU time of its training."""
    return float(yaml.safe_load((run / "run.yaml").read_text())["cpu_time_s"])


def compare(given: argparse.Namespace) -> None:
    trained = generator(given)
    period = (str(given.learned), str(given.learned + given.compared - 1))
    held_out = held_out_showers(trained.domain.with_data(trained.recipe, None, period))
    known = known_showers(trained)
    seconds = sum(seconds_of(given.out / name) for name in ("pretrained", "generator"))
    result = generation_result({"model": trained}, known, held_out)
    others = baselines(trained, known, held_out.showers.incident_mev, seconds)
    of_others = shower_result(held_out.showers, others, held_out.geometry)
    print(
        f"{trained.parameters:,} weights, {seconds:.0f} s of CPU time, {given.learned} showers; {given.compared} compared"
    )
    print_tables([*result.scores, *of_others.scores])


def print_tables(scores: Sequence) -> None:
    for title, rows in score_tables(scores):
        print(f"\n{title}")
        for row in rows:
            print(f"{row[0]:18}" + "".join(f"{cell:>20}" for cell in row[2:]))


def transfer(given: argparse.Namespace) -> None:
    base = generator(given)
    file = given.out / "other.hdf5"
    simulate_showers(file, showers=max(given.transfer) + HELD_OUT, geometry="other", workers=1, progress=False)
    print(f"{'showers':>8}{'pre-trained':>13}{'scratch':>10}{'better by':>11}")
    for learned in given.transfer:
        _, generating = recipes(given, file, learned, "other", [1, given.transfer_steps])
        runs = {name: given.out / f"{name}-{learned}-{given.transfer_steps}" for name in ("moved", "scratch")}
        moved = once(runs["moved"], partial(finetune, generating, base, runs["moved"], progress=False))
        scratch = once(runs["scratch"], partial(pretrain, generating, runs["scratch"], progress=False))
        first = max(given.transfer)
        distances = [distance(model, (first, first + given.compared - 1)) for model in (moved, scratch)]
        print(f"{learned:8}{distances[0]:13.3f}{distances[1]:10.3f}{1 - distances[0] / distances[1]:11.0%}")


def distance(trained: TrainedModel, period: tuple[int, int]) -> float:
    """The mean Wasserstein distance to held-out showers, of which some may have energies that were not learned."""
    held_out = held_out_showers(trained.domain.with_data(trained.recipe, None, tuple(map(str, period))))
    truth = observables(held_out.showers, held_out.geometry)
    drawn = observables(draw(trained, held_out.showers.incident_mev), held_out.geometry)
    return mean_wasserstein("model", truth, drawn).value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/shower-benchmark"))
    parser.add_argument("--steps", type=int, nargs=2, default=[150, 700], help="of pre-training and of fine-tuning")
    parser.add_argument("--learned", type=int, default=LEARNED)
    parser.add_argument("--compared", type=int, default=HELD_OUT)
    parser.add_argument("--transfer", type=int, nargs="+", help="numbers of showers of the new geometry")
    parser.add_argument("--transfer-steps", type=int, default=200)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a moment; into its own directory")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="of the recipes")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.smoke:
        given.out, given.steps, given.learned, given.compared = given.out / "smoke", [1, 1], 100, 60
        given.transfer_steps, given.overrides = 1, [*SMALL, *given.overrides]
    (transfer if given.transfer else compare)(given)


if __name__ == "__main__":
    main()
