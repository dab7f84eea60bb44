"""Memory of a device during a training step. Axes: W width.

Modelled: the tensors alive at the start of the backward pass, plus all gradients, which together exceed the memory at any moment. Not
modelled: the context and libraries of the device (about 1 GB on a GPU), buffers of collective operations, fragmentation, the moving average
of the weights, and matrices that take an orthogonal step together (about 1 GB if there are many).
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from statecast.models import ModelOptions, StateModel
from statecast.streams import Question, TokenSpec, blank_tokens
from statecast.training import TrainingOptions

GIB = 2**30
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
FULL, HALF = 4, 2  # bytes per number
ADAM_MOMENTS = 2
GATHERED_BLOCKS = 2  # FSDP holds the current block and prefetches the next
PASSING_ANSWERS = 2  # temporaries of the score, each the size of all members, besides the tensors that it saves


@dataclass(frozen=True)
class Counts:
    """Numbers of visible tokens (`shown`) and queries (`asked`) of a sample, by stream."""

    shown: Mapping[str, int]
    asked: Mapping[str, int]


@dataclass(frozen=True)
class Weights:
    """Numbers of parameters of a model, as needed for FSDP: all, those of its largest block, those outside the blocks."""

    all: int
    largest_block: int
    outside: int

    @classmethod
    def of(cls, model: StateModel) -> "Weights":
        blocks = [_count(block) for block in model.blocks]
        return cls(_count(model), max(blocks), _count(model) - sum(blocks))

    @classmethod
    def of_options(cls, options: ModelOptions, specs: Mapping[str, TokenSpec]) -> "Weights":
        """Of a model with these options, from one block of each kind, without memory for its weights."""
        with torch.device("meta"):
            model = StateModel(_few(options, 1, 1), specs)
        few = cls.of(model)
        further = (options.encoder_layers - 1) * _count(model.encoder) + (options.decoder_layers - 1) * _count(
            model.decoder
        )
        return cls(few.all + further, few.largest_block, few.outside)

    def held_bytes(self, devices: int, *, shards: bool, low_precision: bool) -> float:
        """Bytes on one device, for P parameters: weights 4 P, gradients 4 P, AdamW's moments 8 P, and copies of 2 P under autocast.

        Rajbhandari et al. 2020 (ZeRO), section 3.1. DDP on several devices adds buckets of 4 P in which gradients are summed. FSDP divides
        weights, gradients and moments among the devices, and gathers in full: the weights of two blocks, the gradients of one, and weights
        and gradients outside the blocks. The copies are not sharded: autocast makes them from the gathered weights and keeps them.
        """
        held = (2 + ADAM_MOMENTS) * FULL * self.all
        copies = HALF * self.all * low_precision
        if devices == 1:
            return held + copies
        if not shards:
            return held + FULL * self.all + copies
        return held / devices + FULL * ((GATHERED_BLOCKS + 1) * self.largest_block + 2 * self.outside) + copies


class MemoryNeedError(ValueError):
    """A training that this machine has too little memory for."""


def require_memory(
    options: ModelOptions, specs: Mapping[str, TokenSpec], question: Question, training: TrainingOptions, processes: int
) -> None:
    """Raises MemoryNeedError, before anything is built, if the least that a training needs exceeds the memory of a device.

        weights, gradients and one moment      12 bytes a parameter, over all processes
        input of each block                    width x tokens, for each sample at once; with what is inside a block unless it is recomputed
        answers                                values x members
        the question                           its tensors

    A lower bound: `ModelSize.memory_gib` estimates what it really takes. `question` is that of one sample.
    """
    parameters = Weights.of_options(options, specs).all
    samples = max(1, training.batch_size // (training.accumulate * processes))
    shown, asked = (sum(map(len, window.values())) for window in (question.context, question.queries))
    in_block = (
        1 if training.activation_checkpointing else 6 + 2 * options.mlp_ratio
    )  # query, key, value, norms, perceptron
    blocks = options.width * in_block * (shown * options.encoder_layers + asked * options.decoder_layers)
    answers = sum(tokens.values.numel() for tokens in question.queries.values()) * options.members_in_training
    number = FULL if training.precision == "32-true" else HALF
    of_weights = 3 * FULL * parameters / processes / GIB
    of_batch = samples * (number * blocks + FULL * answers + _question_bytes(question)) / GIB
    if of_weights + of_batch > (there := device_memory_gib()):
        smaller = (
            "Choose a smaller model.width or fewer layers"
            if of_weights > of_batch
            else "Lower training.batch_size, or raise training.accumulate"
        )
        raise MemoryNeedError(
            f"the training needs at least {of_weights:,.0f} GiB of memory for {parameters:,} weights and {of_batch:,.0f} GiB for its "
            f"batch, a device has {there:,.0f} GiB. {smaller}."
        )


def _question_bytes(question: Question) -> int:
    tokens = [*question.context.values(), *question.queries.values()]
    return sum(part.nbytes for t in tokens for part in (t.values, t.coords, t.observed))


def require_room(what: str, numbers: float) -> None:
    """Raises MemoryNeedError if so many numbers of 32 bits exceed the memory of this machine."""
    if (gib := FULL * numbers / GIB) > (there := device_memory_gib()):
        raise MemoryNeedError(f"{what} needs {gib:,.0f} GiB of memory, there are {there:,.0f} GiB. Ask for fewer.")


def device_memory_gib() -> float:
    """Memory of the GPU, or of this machine if there is none, as far as a container may use it."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_properties(0).total_memory / GIB
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = CONTAINER_LIMIT.read_text(encoding="utf-8").strip() if CONTAINER_LIMIT.is_file() else ""
    return min(there, int(limit) if limit.isdecimal() else there) / GIB


def _few(options: ModelOptions, encoder: int, decoder: int) -> ModelOptions:
    """The options with so many blocks."""
    return options.model_copy(update={"encoder_layers": encoder, "decoder_layers": decoder})


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def activation_bytes(
    options: ModelOptions, specs: Mapping[str, TokenSpec], counts: Counts, *, low_precision: bool, recomputes: bool
) -> float:
    """Bytes that one sample keeps for the backward pass, plus temporaries, from torch's fake tensors: nothing is computed.

    Blocks of the same kind keep the same amount, so a model with two of each determines the amount for any number. With `recomputes`,
    each block keeps only its input. The temporaries are those of the score or, if larger, the inside of a recomputed block.
    """
    all_of_two, of_encoder, of_decoder = _saved_bytes(options, specs, counts, low_precision, recomputes)
    total = all_of_two + (options.encoder_layers - 2) * of_encoder + (options.decoder_layers - 2) * of_decoder
    asked = FULL * sum(n * specs[name].size for name, n in counts.asked.items())
    members = options.members_in_training
    score = asked * (members + 1)  # it saves its gradient with respect to each member, and the weight of each value
    inside = max(_saved_bytes(options, specs, counts, low_precision, False)[1:]) if recomputes else 0.0
    return total + score + max(PASSING_ANSWERS * asked * members, inside)


def _saved_bytes(
    options: ModelOptions,
    specs: Mapping[str, TokenSpec],
    counts: Counts,
    low_precision: bool,
    recomputes: bool,
) -> tuple[int, int, int]:
    """Bytes that a model of two blocks of each kind saves: all, those of the second encoder block, of the second decoder block."""
    with FakeTensorMode():
        model = StateModel(_few(options, 2, 2), specs)
        model.recomputes = recomputes
        question = blank_question(specs, counts)
        with saved_storages(model) as storages, torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
            of_second = [_saved_between(blocks[0], blocks[1], storages) for blocks in (model.encoder, model.decoder)]
            answers = model.attempt(question)
        del answers
    encoder, decoder = (sum(saved[1::2]) - sum(saved[::2]) for saved in of_second)
    return sum(storages.values()), encoder, decoder


def _saved_between(first: nn.Module, second: nn.Module, storages: Mapping[int, int]) -> list[int]:
    """The bytes that are saved whenever the first module has run, and whenever the second one has, in turn; filled as they run."""
    saved: list[int] = []
    for module in (first, second):
        module.register_forward_hook(lambda *_: saved.append(sum(storages.values())))
    return saved


@contextmanager
def saved_storages(model: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes of each storage that autograd saves within the context, except weights and tensors derived from one, such as 16-bit copies."""
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept, found = [], {}  # kept storages stay alive, so that no identity is reused

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights and not _is_of_a_weight(tensor):
            kept.append(storage)
            found[storage._cdata] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        yield found


def _is_of_a_weight(tensor: Tensor) -> bool:
    """True for a tensor derived from a single leaf with a gradient, by operations on one tensor."""
    node = tensor.grad_fn
    while node is not None and len(node.next_functions) == 1:
        node = node.next_functions[0][0]
    return node is not None and node.name().endswith("AccumulateGrad")


def blank_question(specs: Mapping[str, TokenSpec], counts: Counts, samples: int = 1) -> Question:
    """A question of these sizes that holds nothing."""
    context = {name: blank_tokens(specs[name], count, samples) for name, count in counts.shown.items()}
    queries = {name: blank_tokens(specs[name], count, samples) for name, count in counts.asked.items()}
    return Question(context, queries)
