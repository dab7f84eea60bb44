"""Which weights a fine-tuning may change: all, some blocks, the heads, low-rank updates, or those of new streams alone."""

import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from pydantic import Field
from torch import nn

from statecast.adaptation.transfer import NOTHING_NEW, AdaptationError, TransferReport
from statecast.models import StateModel
from statecast.options import Options

ATTENTION_AND_PERCEPTRON = r"(encoder|decoder)\.\d+\.(attention\.(to_query|to_key|to_value|output)|mlp\.[02])"


class AdaptationOptions(Options):
    """What fine-tuning may change. Weights that the model has not learned yet, such as those of a new stream, are always free."""

    change: Literal["all", "heads", "last_blocks", "lora", "new"] = Field(
        "all",
        description="all weights; heads: the maps to the answers; last_blocks: the heads and the last `blocks`; "
        "lora: low-rank updates of the blocks (Hu et al. 2021), merged at the end, and the heads; "
        "new: only what is new, so that old answers stay as they were",
    )
    blocks: int = Field(1, ge=1, le=2000, description="blocks of `last_blocks`, counted from the end of the decoder")
    rank: int = Field(8, ge=1, le=2**12, description="of the updates of `lora`")
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="learning rate of a block over that of the block after it; heads learn at the full rate",
    )


@contextmanager
def trainable_only(
    model: StateModel, options: AdaptationOptions, report: TransferReport = NOTHING_NEW, seed: int = 0
) -> Iterator[None]:
    """Inside the block only what `options` allow takes part in training, and what is new in it; after it, all is free again.

    Low-rank updates are put in at the start of the block, drawn from `seed`, and merged into the weights at its end, also if it fails.
    Raises AdaptationError for more blocks than the model has, for new channels among old ones where only what is new may change, or if
    `lora` lacks its package.
    """
    if options.change == "all":
        yield
        return
    blocks = model.blocks
    if options.change == "last_blocks" and options.blocks > len(blocks):
        raise AdaptationError(
            f"adaptation.blocks is {options.blocks}, the model has {len(blocks)}. Choose at most that many."
        )
    if options.change == "new" and (not report.new or report.mixed):
        what = f"{report.mixed[0]} holds old channels beside new ones" if report.mixed else "there is nothing new"
        raise AdaptationError(
            f"adaptation.change is new, but {what}. Add new variables or levels as a stream of their own, or choose another change."
        )
    model.requires_grad_(False)
    merge: Callable[[], None] = lambda: None  # noqa: E731
    try:
        if options.change == "lora":
            merge = _add_updates(model, _updated(model, report), options.rank, seed)
        if options.change != "new":
            _heads(model).requires_grad_(True)
        if options.change == "last_blocks":
            nn.ModuleList(blocks[-options.blocks :]).requires_grad_(True)
        for name, parameter in model.named_parameters():
            if name in (*report.new, *report.mixed):
                parameter.requires_grad_(True)
        yield
    finally:
        merge()
        model.requires_grad_(True)


def _heads(model: StateModel) -> nn.ModuleList:
    """What turns the output of the decoder into answers."""
    drawing = [head for head in (model.flow, model.noise) if head is not None]
    return nn.ModuleList([model.heads, model.code_heads, model.decoder_norm, *drawing])


def _updated(model: StateModel, report: TransferReport) -> list[str]:
    """The linear maps of the blocks, and of all of a pre-trained encoder, unless they are new."""
    of_encoder = [] if model.pretrained is None else [name for name, _ in _linear_maps(model.pretrained.model)]
    names = [f"pretrained.model.{name}" for name in of_encoder]
    names += [name for name, _ in model.named_modules() if re.fullmatch(ATTENTION_AND_PERCEPTRON, name)]
    return [name for name in names if f"{name}.weight" not in report.new]


def _linear_maps(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Those that updates can be put into: also GPT-2's, which are called convolutions there."""
    return [
        (name, each)
        for name, each in module.named_modules()
        if isinstance(each, nn.Linear) or type(each).__name__ == "Conv1D"
    ]


def _add_updates(model: StateModel, names: Sequence[str], rank: int, seed: int) -> Callable[[], None]:
    """Puts low-rank updates into maps; returns what merges them and takes them out. Raises AdaptationError if there are no maps."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
        from peft.tuners.lora import LoraLayer
    except ModuleNotFoundError:
        raise AdaptationError(
            "adaptation.change: lora needs the package peft. Install it with `pip install 'statecast[lora]'`, or choose another change."
        ) from None
    if not names:
        raise AdaptationError(
            "adaptation.change is lora, but the model has no linear map to update. Choose another change."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        targets = "|".join(map(re.escape, names))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "fan_in_fan_out")  # of a Conv1D, for which peft sets it
            inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=targets), model)

    def merge() -> None:
        for name, layer in [(n, m) for n, m in model.named_modules() if isinstance(m, LoraLayer)]:
            layer.merge()
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layer.get_base_layer())
        del model.peft_config

    return merge


def trainable_parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def learning_rate_shares(model: StateModel, layer_decay: float) -> dict[str, float]:
    """For each parameter, by name, the share of the learning rate: `layer_decay` to the power of the layers above it.

    Heads have none above them, the last block one, and so on; embeddings lie below all blocks (Bao et al. 2022, BEiT).
    """
    layers = [_heads(model), *reversed(model.blocks)]
    shares = {id(p): layer_decay**above for above, layer in enumerate(layers) for p in layer.parameters()}
    if model.pretrained is not None:  # its output enters the first block of the others
        above = 1 + len(model.encoder) + len(model.decoder)
        shares |= {id(p): layer_decay**above for p in model.pretrained.project.parameters()}
    return {name: shares.get(id(p), layer_decay ** len(layers)) for name, p in model.named_parameters()}
