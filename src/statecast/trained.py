"""A trained model with all it needs to answer questions about a store: weights, streams, their statistics, the recipe.

A model directory holds `recipe.yaml` (resolved), `model.safetensors`, `streams/NAME.nc` (climatology and spread), `model.json`
(sizes, versions, earlier data) and `README.md` (the model card). It loads with nothing else, on another machine.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from statecast.fields.sources import Climatology
from statecast.fields.tokenizers import FieldTokenizer
from statecast.models import ModelOptions, StateModel, TokenSpec
from statecast.streams import Stream

FORMAT = (
    4  # 1: answers not in units of their spread; 2: a climatology that jumped between months; 3: norms not modulated
)
LONGEST_REASON = 200  # letters of another library's message that are passed on
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, yaml.YAMLError, SafetensorError)
"""What reading a file that was cut off, changed or written by another version can raise."""
CARD = """---
library_name: statecast
license: apache-2.0
tags: [foundation-model, {kind}]
---
# A statecast model

{parameters:,} parameters; trained with statecast {version} on the task `{kind}`, from `{train}` of the store `{store}`.

| stream | variables | levels hPa | token (time x lat x lon) | grid |
|---|---|---|---|---|
{streams}

Energy and emissions of its training: {footprint}.

Load it with `statecast.load(path)`; the recipe that made it is `recipe.yaml`. Its skill holds for the store and the period that its
evaluation names, and for nothing else.
"""


class ModelError(ValueError):
    """A model directory that is none, is damaged, or doesn't fit what is asked of it."""


@dataclass(frozen=True)
class TrainedModel:
    """A model, the tokenizer of each of its streams, and the resolved recipe that made it.

    earlier  the section `data` of the recipe of each model that it goes on from, the first one first
    """

    model: StateModel
    tokenizers: Mapping[str, FieldTokenizer]
    recipe: Mapping[str, Any]
    earlier: tuple[Mapping[str, Any], ...] = ()

    @property
    def learned(self) -> tuple[Mapping[str, Any], ...]:
        """The section `data` of every recipe that its weights have learned by, its own last."""
        own = self.recipe["data"]
        return (*(data for data in self.earlier if data != own), own)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def save(self, directory: Path, footprint: str = "not measured") -> None:
        """Write the model directory (see the module), aside and then renamed; `footprint` stands in the model card.

        Raises FileExistsError if `directory` exists already.
        """
        if directory.exists():
            raise FileExistsError(f"{directory} exists already.")
        part = directory.with_name(f"{directory.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
        self._write(part, footprint)
        part.rename(directory)

    def _write(self, directory: Path, footprint: str) -> None:
        directory.mkdir(parents=True)
        (directory / "streams").mkdir()
        (directory / "recipe.yaml").write_text(yaml.safe_dump(dict(self.recipe), sort_keys=False))
        facts = {
            "format": FORMAT,
            "statecast": version("statecast"),
            "torch": torch.__version__,
            "parameters": self.parameters,
            "model": self.model.options.model_dump(),
            "tokens": {name: spec.model_dump() for name, spec in self.model.specs.items()},
            "streams": {name: tokenizer.stream.model_dump() for name, tokenizer in self.tokenizers.items()},
            "earlier": [dict(data) for data in self.earlier],
        }
        (directory / "model.json").write_text(json.dumps(facts, indent=2))
        for name, tokenizer in self.tokenizers.items():
            tokenizer.climatology.save(directory / "streams" / f"{name}.nc")
        (directory / "README.md").write_text(self._card(footprint))
        save_file({k: v.contiguous() for k, v in self.model.state_dict().items()}, directory / "model.safetensors")

    def _card(self, footprint: str) -> str:
        rows = [
            f"| {name} | {', '.join(t.stream.variables)} | {', '.join(f'{p:g}' for p in t.stream.levels) or '-'} "
            f"| {' x '.join(map(str, t.stream.patch))} | {t.climatology.grid.shape[0]} x {t.climatology.grid.shape[1]} |"
            for name, t in self.tokenizers.items()
        ]
        data = self.recipe["data"]
        return CARD.format(
            parameters=self.parameters,
            version=version("statecast"),
            kind=self.recipe["task"]["kind"],
            train=" to ".join(map(str, data["train"])),
            store=data["store"],
            footprint=footprint,
            streams="\n".join(rows),
        )


def build(options: ModelOptions, tokenizers: Mapping[str, FieldTokenizer], seed: int) -> StateModel:
    """A model for these streams with weights drawn from `seed`; the global random state is left as it was.

    Where the options leave `reach_deg` open it becomes the height of a token of the first stream. How long anomalies last is told by the
    tokenizers' statistics.
    """
    first = next(iter(tokenizers.values()))
    reach_deg = options.reach_deg or first.stream.patch[1] * first.climatology.grid.spacing_deg
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        specs = {name: token_spec(tokenizer) for name, tokenizer in tokenizers.items()}
        model = StateModel(options.model_copy(update={"reach_deg": reach_deg}), specs)
    for name, tokenizer in tokenizers.items():
        model.correlation_of(name).copy_(torch.from_numpy(tokenizer.correlation()))
    return model


def token_spec(tokenizer: FieldTokenizer) -> TokenSpec:
    channels = len(tokenizer.climatology.channels) // tokenizer.groups
    stream = tokenizer.stream
    return TokenSpec(
        channels=channels, patch=stream.patch, step_h=tokenizer.climatology.step_h, guessed=bool(stream.first_guess)
    )


def load(path_or_hub_id: str | Path) -> TrainedModel:
    """Load a model directory, a run directory that holds one as `model`, or `organisation/name` from the Hugging Face hub.

    Raises ModelError if there is none or it is damaged.
    """
    directory = _locate(path_or_hub_id)
    try:
        facts = json.loads((directory / "model.json").read_text())
        if facts["format"] != FORMAT:
            raise ValueError(f"its format is {facts['format']}, expected {FORMAT}")
        recipe = yaml.safe_load((directory / "recipe.yaml").read_text())
        if not isinstance(recipe, dict):
            raise ValueError("recipe.yaml holds no recipe")
        tokenizers = {
            name: FieldTokenizer(Stream(**stream), Climatology.load(directory / "streams" / f"{name}.nc"))
            for name, stream in facts["streams"].items()
        }
        specs = {name: TokenSpec(**spec) for name, spec in facts["tokens"].items()}
        model = StateModel(ModelOptions(**facts["model"]), specs)
        model.load_state_dict(load_file(directory / "model.safetensors"))
    except DAMAGE as error:
        what = f"{type(error).__name__}: {error}" if isinstance(error, KeyError | AttributeError) else str(error)
        reason = " ".join(what.split())
        reason = reason if len(reason) <= LONGEST_REASON else f"{reason[:LONGEST_REASON]}…"
        raise ModelError(
            f"model {path_or_hub_id}: is damaged or of another version ({reason}). Copy it again or train it anew."
        ) from error
    return TrainedModel(model.eval(), tokenizers, recipe, tuple(facts.get("earlier", ())))


def _locate(path_or_hub_id: str | Path) -> Path:
    path = Path(path_or_hub_id)
    for directory in (path, path / "model"):
        if (directory / "model.json").is_file():
            return directory
    if path.exists() or str(path_or_hub_id).count("/") != 1:
        raise ModelError(
            f"model {path_or_hub_id}: is no model directory (it has no model.json). "
            "Give a directory that pretrain or finetune wrote, or an id of the hub."
        )
    try:
        return Path(snapshot_download(str(path_or_hub_id)))
    except Exception as error:  # the hub's client has no common base for what can go wrong on the way
        raise ModelError(
            f"model {path_or_hub_id}: is neither a directory nor to be had from the hub ({type(error).__name__})."
        ) from error
