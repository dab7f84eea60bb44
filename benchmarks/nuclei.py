"""Nuclei in a microscope picture: which pixels and which boxes? Beside Otsu's threshold, connected components and a small U-Net.

    pip download stardist==0.9.2 --no-deps --no-binary :all: --no-build-isolation
    python benchmarks/nuclei.py --data stardist-0.9.2.tar.gz --out runs/nuclei [--steps 400] [--seed 0] [--threads 1] [--smoke]

The package stardist ships one picture of 512 × 512 pixels with the mask of each of its 125 nuclei. It is cut into 16 tiles, with a
folder of masks and a table of boxes; the upper twelve are learned from, the lower four are scored, in crops of 64 × 64 pixels. The recipes
images-segment and images-boxes and the U-Net learn in equally many steps of the same batch size.

Prints Dice and IoU of the masks, and the average precision of the boxes at an IoU of 0.5. --smoke draws discs in place of nuclei.
"""

import argparse
import io
import json
import shutil
import tarfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from shared import PLAIN, once
from statecast import pretrain, read_recipe
from statecast.evaluation.samples import SampleEvaluation
from statecast.images.evaluation.evaluate import evaluate
from statecast.images.evaluation.scores import overlaps, picture_scores
from statecast.images.source import ImageSource
from statecast.outputs import new_output
from statecast.trained import TrainedModel
from unet import UNet

TILES = 4  # along each side
LEARNED = 12  # tiles
SMALLEST = 5  # pixels along a side of a nucleus: what the edge of a tile leaves of others has no box
BATCH, LEARNING_RATE = 8, 3e-3
TINY = (
    "model.width=32",
    "model.heads=2",
    "model.encoder_layers=1",
    "training.batch_size=2",
    "training.validation_samples=2",
)


def nuclei(data: Path) -> tuple[Int[np.ndarray, "H W"], Int[np.ndarray, "H W"]]:
    """The picture and the number of the nucleus of each pixel, 0 for none."""
    with tarfile.open(data) as archive:
        files = {Path(member.name).name: member for member in archive.getmembers() if member.name.endswith("2d.tif")}
        read = [archive.extractfile(files[name]) for name in ("img2d.tif", "mask2d.tif")]
        picture, mask = (np.asarray(Image.open(io.BytesIO(file.read()))) for file in read if file is not None)
    return picture, mask


def discs(side: int = 256, count: int = 60) -> tuple[Int[np.ndarray, "H W"], Int[np.ndarray, "H W"]]:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    mask = np.zeros((side, side), np.uint16)
    for number, (row, column, radius) in enumerate(random.uniform([0, 0, 5], [side, side, 10], (count, 3))):
        mask[(y - row) ** 2 + (x - column) ** 2 < radius**2] = number + 1
    return (random.uniform(0, 40, mask.shape) + 80 * (mask > 0)).astype(np.uint16), mask


def write_tiles(picture: np.ndarray, mask: np.ndarray, out: Path) -> None:
    """A folder of tiles with one of masks in it, and a table of boxes beside it."""
    rows = ["image,xmin,ymin,xmax,ymax"]
    side = len(picture) // TILES
    (out / "nuclei" / "masks").mkdir(parents=True)
    for number in range(TILES**2):
        row, column = (side * each for each in divmod(number, TILES))
        cut = np.s_[row : row + side, column : column + side]
        name = f"tile-{number:02d}.tif"
        Image.fromarray(picture[cut]).save(out / "nuclei" / name)
        Image.fromarray(mask[cut].astype(np.uint16)).save(out / "nuclei" / "masks" / name)
        found = [f"{name},,,,"]  # the tile is annotated, whether it has a nucleus or not
        for place in ndimage.find_objects(mask[cut].astype(int)):
            if place is not None and min(each.stop - each.start for each in place) >= SMALLEST:
                y, x = place
                found.append(f"{name},{x.start},{y.start},{x.stop},{y.stop}")
        rows += found
    (out / "nuclei.csv").write_text("\n".join(rows))


def trained_once(name: str, out: Path, steps: int, seed: int, overrides: tuple[str, ...]) -> TrainedModel:
    """The model of a recipe on the tiles, which is used again if it is there."""
    said = {"seed": seed, "data.files": str(out / "data" / "nuclei"), "training.steps": steps}
    said |= {"data.train": [0, LEARNED - 1], "data.validate": [LEARNED, TILES**2 - 1]}
    said |= {f"training.{key}": value for key, value in PLAIN.items()}
    if name == "images-boxes":
        said["data.boxes"] = str(out / "data" / "nuclei.csv")
    recipe = read_recipe(name, [*(f"{key}={json.dumps(value)}" for key, value in said.items()), *overrides])
    run = out / f"{name}-{steps}-{seed}"
    return once(run, partial(pretrain, recipe, run, progress=False))


def train_unet(model: TrainedModel, steps: int, seed: int) -> UNet:
    """On crops as the model sees them: the same draws, batch size and number of steps."""
    source = model.domain.open(model.recipe, "train", model.codecs)
    assert isinstance(source, ImageSource)
    torch.manual_seed(seed)
    network = UNet(1, 1, (16, 32, 64), periodic=False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps + 1)
    batch = model.recipe.training.batch_size
    for step in range(steps):
        drawn = [source.draw(np.random.default_rng([seed, step, number])) for number in range(batch)]
        pixels, mask = (
            torch.stack([as_picture(model, window, name) for window in drawn]) for name in ("pixels", "mask")
        )
        loss = F.binary_cross_entropy_with_logits(network(pixels), mask)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return network


def as_picture(model: TrainedModel, window: dict, name: str) -> Float[Tensor, "1 H W"]:
    """The normalised pixels, or the mask, of one channel."""
    codec = model.codecs[name]
    values = window[name].values.numpy()
    if name == "mask":
        return torch.from_numpy(codec.shares(values)[1:])
    return torch.from_numpy((codec.pixels(values)[0] - codec.mean[0]) / codec.std[0])


def unet_scores(model: TrainedModel, network: UNet) -> dict[str, float]:
    source = model.domain.open(model.recipe, "validate", model.codecs)
    assert isinstance(source, ImageSource)
    shares = []
    for number in range(len(source.record)):
        window = source.window(number)
        with torch.inference_mode():
            said = network(as_picture(model, window, "pixels")[None])[0, 0] > 0
        shares.append(overlaps(said.numpy().astype(int), as_picture(model, window, "mask")[0].numpy().astype(int), [1]))
    means = {name: np.mean([each[name] for each in shares]) for name in shares[0]}
    return {name: float(value) for name, value in picture_scores(means, 1).items()}


def values_of(evaluation: SampleEvaluation, metric: str) -> dict[str, float]:
    """The value of each forecast."""
    _, (_, *rows) = evaluation.tables()[0]
    return {row[1]: float(row[3]) for row in rows if row[2] == metric}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="the source archive of stardist")
    parser.add_argument("--out", type=Path, default=Path("runs/nuclei"))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="a moment, on discs; into its own directory")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    overrides: tuple[str, ...] = ()
    if given.smoke:
        given.out, given.steps, overrides = given.out / "smoke", 2, TINY
    elif given.data is None:
        parser.error("--data is missing: the archive that pip download fetches, see above")
    if not (given.out / "data").exists():
        with new_output(given.out / "data") as folder:
            write_tiles(*(discs() if given.smoke else nuclei(given.data)), folder)
    segment = trained_once("images-segment", given.out, given.steps, given.seed, overrides)
    boxes = trained_once("images-boxes", given.out, given.steps, given.seed, overrides)
    began = time.process_time()
    peer = unet_scores(segment, train_unet(segment, given.steps, given.seed))
    print(f"U-Net: {time.process_time() - began:.0f} s of CPU time")
    print(f"{'score':20}{'forecast':>20}{'value':>10}")
    shutil.rmtree(given.out / "scores", ignore_errors=True)
    masks = evaluate(segment, out=given.out / "scores" / "masks", progress=False)
    for metric in ("dice", "iou"):
        for forecast, value in {**values_of(masks, metric), "U-Net": peer[metric]}.items():
            print(f"{metric:20}{forecast:>20}{value:10.3f}")
    found = evaluate(boxes, out=given.out / "scores" / "boxes", progress=False)
    for forecast, value in values_of(found, "average_precision").items():
        print(f"{'average precision':20}{forecast:>20}{value:10.3f}")


if __name__ == "__main__":
    main()
