"""Operations of a training step, in closed form and as counted by torch. W is the width."""

import copy
from collections.abc import Mapping

import torch
from torch.utils.flop_counter import FlopCounterMode

from statecast.axes import feature_size, united
from statecast.models.attention import geometry_size
from statecast.models.flow import TIME_SIZE, TIME_WAVES
from statecast.models.losses import question_loss
from statecast.models.noise_head import FIELDS, SCALES, WAVES
from statecast.models.options import ModelOptions
from statecast.models.state_model import LEAD_SIZE, StateModel, make_pretrained
from statecast.streams import Question, TokenSpec, blank_tokens


def sample_flops(
    options: ModelOptions,
    specs: Mapping[str, TokenSpec],
    shown: Mapping[str, int],
    asked: Mapping[str, int],
    *,
    recomputes: bool = False,
) -> int:
    """Operations of the matrix products in the forward and backward pass of one sample; a multiply-add counts as two operations.

    shown, asked  numbers of visible and of asked tokens of each stream
    recomputes    the blocks run forward a second time, up to the input of their last map (activation checkpointing)

    A linear map of n tokens from i to o values takes 2 n i o operations forward and twice as many backward, or the same number backward if
    its input needs no gradient. Attention of n tokens to m takes 4 n m W forward and 8 n m W backward. The decoder runs once for each asked
    stream, and maps all visible tokens to keys and values each time. Not counted: norms (except their modulation), activation functions,
    geometry, the search for anchors, the loss, the optimiser, and a Hugging Face encoder, see `encoder_flops`.
    """
    width, hidden = options.width, int(options.mlp_ratio * options.width)
    axes = united([spec.axes for spec in specs.values()])
    lead_features = max(spec.lead_features for spec in specs.values())
    both_maps = 2 * width - options.heads * geometry_size(axes)  # query and output, or key and value
    seen = sum(shown.values())

    def block(n: int, m: int, modulations: int = 0) -> int:
        forward = 2 * width * (n + m) * both_maps + 4 * n * m * width + 4 * n * width * hidden
        forward += modulations * modulation(n)
        return 3 * forward + (forward - 2 * n * hidden * width if recomputes else 0)

    def modulation(n: int) -> int:
        return 4 * n * LEAD_SIZE * width if lead_features else 0

    def place(n: int) -> int:
        return 4 * n * feature_size(axes) * width + 6 * n * width**2

    total = place(seen) + options.encoder_layers * block(seen, seen)
    total += sum(8 * n * specs[name].size * width for name, n in shown.items())
    for name, n in asked.items():
        total += place(n) + options.decoder_layers * block(n, seen, modulations=2)
        total += 4 * n * lead_features * LEAD_SIZE + 3 * modulation(n)
        in_heads = 0 if options.head == "flow" else options.make_head().members
        total += 6 * n * width * (in_heads * specs[name].size + specs[name].vocabulary)
        total += specs[name].anchor_flops(n, width, has_visible=bool(shown.get(name)))
    if options.head == "flow":
        return total + _flow_flops(options, specs, shown, asked)
    return total + (_noise_flops(options, specs, asked) if options.head == "noise" else 0)


def _noise_flops(options: ModelOptions, specs: Mapping[str, TokenSpec], asked: Mapping[str, int]) -> int:
    """Forward and backward of all members of a training step; the waves of the noise need none for their angles, nor does the truth."""
    members = options.noise_members
    valued = {name: n for name, n in asked.items() if specs[name].size}
    places = max((specs[name].places for name in valued), default=1)
    features = places * len(SCALES) * FIELDS
    dimensions = sum(axis.of_kind.dimensions for axis in united([spec.axes for spec in specs.values()]))
    total = 0
    for name, n in valued.items():
        size, (channels, steps, _) = specs[name].size, specs[name].dimensions
        of_waves = 2 * dimensions + 8 * FIELDS * len(SCALES) * members
        total += 6 * n * members * features * size + n * specs[name].places * WAVES * of_waves
        if options.noise_local:
            total += 4 * n * n * channels * steps * (members + 1)
    return total


def encoder_flops(
    options: ModelOptions, specs: Mapping[str, TokenSpec], tokens: Mapping[str, int], *, learns: bool
) -> int:
    """Operations of a Hugging Face encoder for one sample beside those of `sample_flops`, as counted by torch; 0 for our own.

    tokens  numbers of tokens of each stream, visible or hidden: the encoder reads all places
    learns  it takes part in training, so that there is a backward pass
    """
    if options.has_own_encoder:
        return 0
    with torch.device("meta"):
        encoder = make_pretrained(options, specs)
        blank = {name: blank_tokens(specs[name], tokens[name]) for name in encoder.streams}
    encoder.model.requires_grad_(learns)
    with FlopCounterMode(display=False) as counter:
        sum((encoder(each).sum() for each in blank.values()), torch.zeros((), device="meta")).backward()
    embedded = sum(8 * tokens[name] * specs[name].size * options.width for name in encoder.streams)
    return counter.get_total_flops() - embedded


def _flow_flops(
    options: ModelOptions, specs: Mapping[str, TokenSpec], shown: Mapping[str, int], asked: Mapping[str, int]
) -> int:
    """Forward and backward of one velocity; the time and, unless a base is learned from a first guess, the values need no gradient."""
    valued = {name: n for name, n in asked.items() if specs[name].size}
    if not valued:
        return 0
    learns_base = any(specs[name].guess_size and not shown.get(name) for name in valued)
    of_values = 0 if learns_base else sum(4 * n * specs[name].size * options.width for name, n in valued.items())
    return 3 * velocity_flops(options, specs, asked) - of_values - 4 * TIME_WAVES * TIME_SIZE


def velocity_flops(options: ModelOptions, specs: Mapping[str, TokenSpec], asked: Mapping[str, int]) -> int:
    """Operations of one evaluation of the velocity of a flow head, for one sample and one member.

    A member takes `Draws.evaluations` of them, whatever the context, which is encoded and decoded once.
    """
    width, hidden = options.width, int(options.mlp_ratio * options.width)
    axes = united([spec.axes for spec in specs.values()])
    valued = {name: n for name, n in asked.items() if specs[name].size}
    if not valued:
        return 0
    n = sum(valued.values())
    block = (
        4 * n * width * (2 * width - options.heads * geometry_size(axes)) + 4 * n * n * width + 4 * n * width * hidden
    )
    norms = (2 * options.flow_layers + 1) * 4 * TIME_SIZE * width
    ends = sum(6 * count * specs[name].size * width for name, count in valued.items())
    return options.flow_layers * block + norms + 4 * TIME_WAVES * TIME_SIZE + ends


def count_flops(model: StateModel, question: Question) -> int:
    """The same number as counted by torch, for all samples of a question.

    Counted on the `meta` device, where attention consists of plain matrix products: torch's counter ignores the fused kernel on a CPU.
    """
    on_meta = question.to("meta")
    model = copy.deepcopy(model).to("meta")
    with FlopCounterMode(display=False) as counter:
        question_loss(model, model.attempt(on_meta), on_meta).backward()
    return counter.get_total_flops()
