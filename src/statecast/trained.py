"""A trained model with everything it needs to answer questions about a store: weights, streams, their statistics and the recipe.

A model directory contains `recipe.yaml` (resolved), `model.safetensors`, `streams/` (the codec of each stream), `model.json` (sizes,
versions, data of earlier training) and `README.md` (the model card). With a Hugging Face encoder, `encoder/` holds its configuration, its
tokenizer or image processor, and its weights, as plain transformers loads them. The directory is self-contained, loads on any machine, and
runs no code of its own.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from statecast.axes import Axis
from statecast.config import Recipe, domain_of, read_recipe, recipe_type
from statecast.documents import LARGEST_JSON, DocumentError, is_file, parse_json, parse_yaml, read_text
from statecast.domain import Domain, find_domain
from statecast.messages import one_line, quoted
from statecast.models import ModelOptions, StateModel
from statecast.models.hugging_face import PREFIX

FORMAT = 5
"""Of a model directory. 1: answers not in units of their spread; 2: a climatology that jumped between months; 3: norms not modulated;
4: coordinates by number."""
WEIGHTS = "model.safetensors"
ENCODER = "encoder"
OF_ENCODER = "pretrained.model."
"""Weights that lie in `encoder/`, by the beginning of their names."""
DIGEST = "sha256"
"""Key of model.json. A directory without one, which an earlier version wrote, loads too."""
DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    SafetensorError,
)
"""What can be raised when a file is read that is truncated, altered or of another version."""
CARD = """---
library_name: statecast
license: apache-2.0
tags: [foundation-model, {domain}, {kind}]
---
# A statecast model

{parameters:,} parameters, trained with statecast {version} on the task `{kind}`.

{data}

Energy and emissions of the training: {footprint}.

Load the model with `statecast.load(path)`. Its recipe is `recipe.yaml`. A published skill applies only to the store and the period of the
evaluation.
"""


class ModelError(ValueError):
    """A model directory is missing or damaged, or the model does not fit the request."""


@dataclass(frozen=True)
class TrainedModel:
    """A model, the codec of each of its streams, and its resolved recipe.

    earlier  the `data` section of the recipe of each model that this one was fine-tuned from, oldest first
    seen     what identifies the records that the weights were trained on, as their domain tells it, the latest last; none where it doesn't
    """

    model: StateModel
    codecs: Mapping[str, Any]
    recipe: Any
    earlier: tuple[Any, ...] = ()
    seen: tuple[Mapping[str, Any], ...] = ()

    @property
    def domain(self) -> Domain:
        return find_domain(self.recipe.data.domain)

    @property
    def device(self) -> torch.device:
        """Where the model answers; `to` moves it."""
        return next(self.model.parameters()).device

    def to(self, device: str | torch.device | None = None) -> "TrainedModel":
        """Moves the model to a device and returns it; None: `best_device()`."""
        self.model.to(device or best_device())
        return self

    @property
    def learned(self) -> tuple[Any, ...]:
        """The `data` section of every recipe that the weights were trained with, the model's own last."""
        own = self.recipe.data
        return (*(data for data in self.earlier if data != own), own)

    @property
    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def save(self, directory: Path, footprint: str = "not measured") -> None:
        """Write the model directory (see the module) to a temporary place, then rename it; `footprint` goes into the model card.

        Raises FileExistsError if `directory` already exists.
        """
        if directory.exists():
            raise FileExistsError(f"{directory} already exists.")
        part = directory.with_name(f"{directory.name}.part")
        shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
        self._write(part, footprint)
        part.rename(directory)

    def _write(self, directory: Path, footprint: str) -> None:
        directory.mkdir(parents=True)
        (directory / "streams").mkdir()
        (directory / "recipe.yaml").write_text(yaml.safe_dump(self.recipe.as_dict(), sort_keys=False), encoding="utf-8")
        facts = {
            "format": FORMAT,
            "statecast": version("statecast"),
            "torch": torch.__version__,
            "parameters": self.parameters,
            "model": self.model.options.model_dump() | _origin(self.recipe.model),
            "axes": [asdict(axis) for axis in self.model.axes],
            "streams": {name: codec.stream.model_dump(mode="json") for name, codec in self.codecs.items()},
            "earlier": [data.model_dump(mode="json", by_alias=True) for data in self.earlier],
            "seen": list(self.seen),
        }
        for name, codec in self.codecs.items():
            codec.save(directory / "streams", name)
        (directory / "README.md").write_text(self._card(footprint), encoding="utf-8")
        state = self.model.state_dict()
        own = {name: value.cpu().contiguous() for name, value in state.items() if not name.startswith(OF_ENCODER)}
        save_file(own, directory / WEIGHTS)
        if self.model.pretrained is not None:
            self.model.pretrained.save(directory / ENCODER)
        facts = json.loads(json.dumps(facts))
        facts[DIGEST] = _whole_digest(directory, facts)
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in facts.items())
        (directory / "model.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")

    def _card(self, footprint: str) -> str:
        return CARD.format(
            parameters=self.parameters,
            version=version("statecast"),
            domain=self.recipe.data.domain,
            kind=self.recipe.task.kind,
            data=self.domain.card(self.codecs, self.recipe),
            footprint=footprint,
        )


def build(
    options: ModelOptions, codecs: Mapping[str, Any], seed: int, axes: tuple[Axis, ...] | None = None
) -> StateModel:
    """A model for these streams with weights drawn from `seed`, those of a Hugging Face encoder read; the global random state is left
    unchanged.

    axes  axes of the model that fine-tuning starts from, if any
    Raises EncoderError if there are no such weights, or if a stream has other categories than the encoder's tokenizer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = StateModel(options, {name: codec.spec for name, codec in codecs.items()}, axes)
    for name, codec in codecs.items():
        codec.calibrate(dict(model.anchors).get(name))
    if model.pretrained is not None:
        for name in model.pretrained.streams:
            model.pretrained.files.require_categories(name, codecs[name].categories)
        model.pretrained.load()
    return model


def best_device() -> str:
    """Where a model answers unless said otherwise: on a GPU if there is one. `CUDA_VISIBLE_DEVICES=` hides GPUs, as from all of torch."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load(path_or_hub_id: str | Path | TrainedModel, device: str | torch.device | None = None) -> TrainedModel:
    """Load a model directory, the `model` of a run directory, or `organisation/name` from the Hugging Face Hub; a model that is loaded
    already is returned as it is, where it is.

    device  where the model answers; None: `best_device()`
    Raises ModelError if there is no model or if it is damaged.
    """
    if isinstance(path_or_hub_id, TrainedModel):
        return path_or_hub_id
    directory = locate(path_or_hub_id)
    facts = _facts(directory, path_or_hub_id)
    try:
        _require_files(directory)
        recipe = read_recipe(_mapping(directory / "recipe.yaml"))
        codecs = find_domain(recipe.data.domain).load(directory / "streams", facts["streams"], recipe)
        _require_same_streams(recipe, codecs)
        axes = tuple(Axis(**axis | {"columns": tuple(axis["columns"])}) for axis in facts["axes"])
        options = ModelOptions(**facts["model"] | _moved(directory))
        model = _with_weights(options, codecs, axes, _weights(directory))
        earlier = tuple(map(_data_of, facts["earlier"]))
        seen = tuple(facts.get("seen", ()))  # older models have none
        if facts.get(DIGEST, digest := _whole_digest(directory, facts)) != digest:
            raise ValueError("its files have changed since it was written")
    except DAMAGE as error:
        message = str(error)
        if isinstance(error, KeyError | AttributeError):  # whose message is a bare name
            message = f"{type(error).__name__}: {error}"
        raise ModelError(
            f"model {path_or_hub_id}: is damaged or of another version ({one_line(message)}). Copy it again or train a new model."
        ) from error
    return TrainedModel(model.eval(), codecs, recipe, earlier, seen).to(device)


def load_compared(run: str | Path | TrainedModel, against: str | Path | TrainedModel | None) -> dict[str, TrainedModel]:
    """The models of an evaluation by their names in it, `model` and, if there is one, `against`."""
    models = {"model": load(run)}
    if against is not None:
        models["against"] = load(against)
    return models


def _data_of(written: Mapping[str, Any]) -> Any:
    """The `data` section of an earlier recipe, in the type of its domain."""
    annotation = recipe_type({"data": written}).model_fields["data"].annotation
    assert annotation is not None
    return annotation.model_validate(written)


def _require_files(directory: Path) -> None:
    """Raises ValueError for a device or a pipe, which would be read without end."""
    for path in directory.rglob("*"):
        if not (path.is_dir() or is_file(path)):
            raise ValueError(f"{path.name} is no file")


def _require_same_streams(recipe: Recipe, codecs: Mapping[str, Any]) -> None:
    """Raises ValueError unless the recipe is the one that the model was built by."""
    if recipe.streams.keys() != codecs.keys() or any(recipe.streams[n] != codec.stream for n, codec in codecs.items()):
        raise ValueError("recipe.yaml has other streams than model.json")


def _origin(options: ModelOptions) -> dict[str, str]:
    """Where a Hugging Face encoder came from."""
    return {} if options.has_own_encoder else {"encoder": options.encoder}


def _moved(directory: Path) -> dict[str, str]:
    """The Hugging Face encoder of a model directory: there, wherever it came from."""
    return {"encoder": f"{PREFIX}{directory / ENCODER}"} if (directory / ENCODER).is_dir() else {}


def _weights(directory: Path) -> dict[Path, str]:
    """The files of weights, with what the names in them lack."""
    of_encoder = {directory / ENCODER / WEIGHTS: OF_ENCODER} if (directory / ENCODER).is_dir() else {}
    return {directory / WEIGHTS: "", **of_encoder}


def _with_weights(
    options: ModelOptions, codecs: Mapping[str, Any], axes: tuple[Axis, ...], weights: Mapping[Path, str]
) -> StateModel:
    """The model with the weights of files. Raises ValueError, before memory is allocated, for weights of another model."""
    specs = {name: codec.spec for name, codec in codecs.items()}
    written = {}
    for path, prefix in weights.items():
        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118  not a mapping
                written[prefix + name] = tuple(file.get_slice(name).get_shape())
    with torch.device("meta"):
        expected = {name: tuple(value.shape) for name, value in StateModel(options, specs, axes).state_dict().items()}
    if differing := [name for name in expected | written if expected.get(name) != written.get(name)]:
        name = differing[0]
        raise ValueError(f"size mismatch of {name}: {written.get(name, 'none')} for {expected.get(name, 'none')}")
    model = StateModel(options, specs, axes)
    state = {prefix + name: value for path, prefix in weights.items() for name, value in load_file(path).items()}
    model.load_state_dict(state)
    return model


def _whole_digest(directory: Path, facts: Mapping[str, Any]) -> str:
    """Of all that answers depend on: a file that was altered is noticed, however the documents are formatted."""
    folders = [directory / "streams", *([directory / ENCODER] if (directory / ENCODER).is_dir() else [])]
    files = [path for folder in folders for path in sorted(folder.iterdir())]
    return _digest([directory / WEIGHTS, *files], directory, facts)


def _digest(files: Sequence[Path], directory: Path, facts: Mapping[str, Any]) -> str:
    plain = {**facts, "recipe": _mapping(directory / "recipe.yaml")}
    plain.pop(DIGEST, None)
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
    for path in files:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def identity(directory: Path) -> str:
    """What tells a run from any other, before and after its training: recipe and statistics, but no weights."""
    facts = _facts(directory, directory)
    return _digest(sorted((directory / "streams").iterdir()), directory, facts)


def _facts(directory: Path, name: str | Path) -> dict[str, Any]:
    """The contents of `model.json`. Raises ModelError if it can't be read or has another format."""
    try:
        facts = parse_json(read_text(directory / "model.json", LARGEST_JSON))
    except DocumentError as error:
        raise ModelError(f"model {name}: model.json {error}. Copy it again.") from None
    written = facts.get("format") if isinstance(facts, dict) else None
    if written != FORMAT:
        raise ModelError(
            f"model {name}: was written in format {quoted(written)}, but this version of statecast reads format {FORMAT}. Train it again "
            "with this version: its recipe.yaml is still valid."
        )
    return facts


def domain_name(path_or_hub_id: str | Path) -> str:
    """The domain of a model, without loading its weights. Raises ModelError if the directory contains no model."""
    directory = locate(path_or_hub_id)
    try:
        return domain_of(_mapping(directory / "recipe.yaml"))
    except ValueError as error:
        raise ModelError(f"model {path_or_hub_id}: recipe.yaml {one_line(error)}. Copy it again.") from error


def _mapping(path: Path) -> dict[str, Any]:
    values = parse_yaml(read_text(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path.name} is not a recipe")
    return values


def locate(path_or_hub_id: str | Path) -> Path:
    """The model directory for a path or a Hub id. Raises ModelError if there is none."""
    path = Path(path_or_hub_id)
    for directory in (path, path / "model"):
        if is_file(directory / "model.json"):
            return directory
    if os.path.lexists(path) or str(path_or_hub_id).count("/") != 1:
        raise ModelError(
            f"model {path_or_hub_id}: is not a model directory (it has no model.json). "
            "Give a directory written by pretrain or finetune, or a Hub id."
        )
    try:
        return Path(snapshot_download(str(path_or_hub_id)))
    except Exception as error:  # the errors of the Hub's client have no common base class
        raise ModelError(
            f"model {path_or_hub_id}: is not a directory and could not be fetched from the Hub ({type(error).__name__})."
        ) from error
