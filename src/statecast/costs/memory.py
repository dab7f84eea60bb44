"""What a device has to hold while a step is taken. Axes: W width.

Modelled: the tensors that stand when the backward pass begins, with all gradients, which is more than any moment holds. Not modelled:
the device's context and libraries (some 1 GB on a GPU), buffers of the collective operations, fragmentation, the moving average of the
weights, matrices that take an orthogonal step at once (some 1 GB where there are many).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from statecast.axes import column_names
from statecast.models import ModelOptions, StateModel
from statecast.streams import Question, Tokens, TokenSpec

GIB = 2**30
FULL, HALF = 4, 2  # bytes of a number
ADAM_MOMENTS = 2
GATHERED_BLOCKS = 2  # FSDP holds the block that is computed and has fetched the next
PASSING_ANSWERS = 2  # tensors as large as all members that the score has at once, beside those that it saves


@dataclass(frozen=True)
class Counts:
    """Numbers of shown and asked tokens of a sample, by stream."""

    shown: Mapping[str, int]
    asked: Mapping[str, int]


@dataclass(frozen=True)
class Weights:
    """Parameters of a model as FSDP shards it: all, those of its largest block, those outside of the blocks."""

    all: int
    largest_block: int
    outside: int

    @classmethod
    def of(cls, model: StateModel) -> "Weights":
        blocks = [_count(block) for block in (*model.encoder, *model.decoder)]
        return cls(_count(model), max(blocks), _count(model) - sum(blocks))

    def held_bytes(self, devices: int, *, shards: bool, low_precision: bool) -> float:
        """Of one device, for P parameters: weights 4 P, gradients 4 P, AdamW's moments 8 P, and under autocast copies of 2 P.

        Rajbhandari et al. 2020 (ZeRO), section 3.1. DDP on several devices adds buckets of 4 P in which gradients are summed. FSDP divides
        weights, gradients and moments by the devices, and gathers whole: the weights of two blocks, the gradients of one, and both of
        what is outside of the blocks. The copies are not sharded: autocast makes them from the gathered weights and keeps them.
        """
        held = (2 + ADAM_MOMENTS) * FULL * self.all
        copies = HALF * self.all * low_precision
        if devices == 1:
            return held + copies
        if not shards:
            return held + FULL * self.all + copies
        return held / devices + FULL * ((GATHERED_BLOCKS + 1) * self.largest_block + 2 * self.outside) + copies


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def activation_bytes(
    options: ModelOptions, specs: Mapping[str, TokenSpec], counts: Counts, *, low_precision: bool, recomputes: bool
) -> float:
    """What one sample leaves for the way back and its score passes through, on torch's fake tensors: nothing is computed.

    Blocks of a kind keep the same, so models of one and two of them say what any number keeps. `recomputes`: of each block its input. On
    top comes what passes: the score's own tensors or, if that is more, the inside of a block that is computed again.
    """

    def kept(encoder: int, decoder: int, *, recomputes: bool) -> float:
        few = options.model_copy(update={"encoder_layers": encoder, "decoder_layers": decoder})
        return _saved_bytes(few, specs, counts, low_precision, recomputes)

    def blocks(*, recomputes: bool) -> tuple[float, float, float]:
        smallest = kept(1, 1, recomputes=recomputes)
        return (
            smallest,
            kept(2, 1, recomputes=recomputes) - smallest,
            kept(1, 2, recomputes=recomputes) - smallest,
        )

    smallest, of_encoder, of_decoder = blocks(recomputes=recomputes)
    total = smallest + (options.encoder_layers - 1) * of_encoder + (options.decoder_layers - 1) * of_decoder
    asked = FULL * sum(n * specs[name].size for name, n in counts.asked.items())
    members = options.make_head().members
    score = asked * (members + 1)  # which saves its gradient by each member, and the weight of each value
    inside = max(blocks(recomputes=False)[1:]) if recomputes else 0.0
    return total + score + max(PASSING_ANSWERS * asked * members, inside)


def _saved_bytes(
    options: ModelOptions,
    specs: Mapping[str, TokenSpec],
    counts: Counts,
    low_precision: bool,
    recomputes: bool,
) -> int:
    with FakeTensorMode():
        model = StateModel(options, specs)
        model.recomputes = recomputes
        question = blank_question(specs, counts)
        with saved_storages(model) as storages, torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
            answers = model.answer(question)
        del answers
    return sum(storages.values())


@contextmanager
def saved_storages(model: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes of each storage that autograd saves in the block; weights, and what is made of one alone, as its copy in 16 bits, apart."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept, found = [], {}  # what is kept lives on, so that no identity is used twice

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights and not _is_of_a_weight(tensor):
            kept.append(storage)
            found[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def _is_of_a_weight(tensor: Tensor) -> bool:
    """True for what comes from one leaf and nothing else that has a gradient, by operations that take one tensor."""
    node = tensor.grad_fn
    while node is not None and len(node.next_functions) == 1:
        node = node.next_functions[0][0]
    return node is not None and node.name().endswith("AccumulateGrad")


def blank_question(specs: Mapping[str, TokenSpec], counts: Counts, samples: int = 1) -> Question:
    """A question of these sizes that holds nothing."""
    context = {name: _blank(specs[name], count, samples) for name, count in counts.shown.items()}
    queries = {name: _blank(specs[name], count, samples) for name, count in counts.asked.items()}
    return Question(context, queries)


def _blank(spec: TokenSpec, count: int, samples: int) -> Tokens:
    shape = (samples, count, spec.size)
    coords = torch.ones((samples, count, len(column_names(spec.axes))))
    codes = torch.zeros((samples, count), dtype=torch.int64) if spec.vocabulary else None
    guess = torch.zeros((samples, count, spec.guess_size)) if spec.guess_size else None
    return Tokens(torch.zeros(shape), coords, torch.ones(shape, dtype=torch.bool), spec, codes=codes, guess=guess)
