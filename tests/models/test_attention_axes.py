"""Attention with axes of any kind, against a softmax that a plain loop writes out, and keys that lack an axis or are hidden."""

import math
from dataclasses import replace

import pytest
import torch

from statecast.axes import Axis, column_names, columns_of
from statecast.models import ModelOptions, StateModel
from statecast.models.attention import GeometricAttention, Geometry, geometry_size
from statecast.streams import Tokens, TokenSpec

HEADS = 3
PLACE, RANK = Axis("place", "plane", spacing=0.7), Axis("rank", "index")
SPACES = {
    "plane and index": (PLACE, RANK),
    "sphere, time and level": (
        Axis("earth", "sphere", spacing=20.0),
        Axis("time", "time"),
        Axis("pressure_hpa", "level"),
    ),
    "circle and line": (Axis("phi", "circle", spacing=0.4), Axis("depth", "line", spacing=1.5)),
    "a scale, which has no part in attention": (Axis("depth", "line"), Axis("grid_deg", "scale")),
}
RANGES = {
    "sphere": [(-85.0, 85.0), (0.0, 360.0)],
    "time": [(0.0, 60.0), (0.0, 24.0), (0.0, 6.28), (0.0, 1.0)],
    "level": [(300.0, 1000.0)],
    "plane": [(-2.0, 2.0), (-2.0, 2.0)],
    "index": [(0.0, 6.0)],
    "circle": [(0.0, 6.28)],
    "line": [(0.0, 5.0)],
    "scale": [(0.1, 2.0)],
}


def random_coords(axes, count: int, seed: int) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([side for axis in axes for side in RANGES[axis.kind]]).T
    return (low + (high - low) * torch.rand(2, count, len(low), generator=random)).double()


def random_tokens(count: int, width: int, seed: int) -> torch.Tensor:
    return torch.randn(2, count, width, generator=torch.Generator().manual_seed(seed)).double()


def make_attention(axes) -> GeometricAttention:
    """In float64, with every parameter of the geometry away from its start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention = GeometricAttention(HEADS * (geometry_size(axes) + 8), HEADS, axes).double()
        with torch.no_grad():
            for parameter in attention.spots.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
    return attention


def place(axis: Axis, coords) -> tuple[list[float], list[list[float]]]:
    """The metric vector of one token along an axis, and the directions of the displacements, with the formulas written out."""
    x = [float(c) for c in coords]
    if axis.kind == "sphere":
        lat, lon = math.radians(x[0]), math.radians(x[1])
        e = [math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)]
        east = [-math.sin(lon), math.cos(lon), 0.0]
        north = [-math.sin(lat) * math.cos(lon), -math.sin(lat) * math.sin(lon), math.cos(lat)]
        return e, [east, north]
    if axis.kind == "time":
        return [x[0] / 24], [[1.0]]
    if axis.kind == "level":
        return [math.log(1013.25 / x[0])], []
    if axis.kind == "circle":
        return [math.cos(x[0]), math.sin(x[0])], [[-math.sin(x[0]), math.cos(x[0])]]
    unit = [[float(i == j) for j in range(len(x))] for i in range(len(x))]
    return [c / axis.spacing for c in x], unit


def reach(axis: Axis) -> float:
    return {"sphere": math.radians(axis.spacing), "circle": axis.spacing}.get(axis.kind, 1.0)


def distance_term(axis: Axis, spots, head: int, query, key) -> float:
    """-a |e(x_q) + s - e(x_k)|² / 2; 0 if either lacks the axis."""
    if math.isnan(query[0]) or math.isnan(key[0]):
        return 0.0
    spot, directions = place(axis, query)
    for number, direction in enumerate(directions):
        shift = reach(axis) * spots.shift[head, number].item()
        spot = [c + shift * d for c, d in zip(spot, direction, strict=True)]
    e, _ = place(axis, key)
    a = math.exp(-2 * spots.log_width[head].item()) / reach(axis) ** 2
    return -a / 2 * sum((s - c) ** 2 for s, c in zip(spot, e, strict=True))


def written_out(attention, axes, queries, at, context, where, visible=None) -> torch.Tensor:
    """The output of attention, pair by pair."""
    size = attention.content_size
    query, key, value = attention.to_query(queries), attention.to_key(context), attention.to_value(context)
    mixed = torch.zeros_like(queries)
    measured = [axis for axis in axes if axis.kind != "scale"]
    for sample in range(len(queries)):
        for head in range(HEADS):
            own, whole = slice(head * size, (head + 1) * size), attention.head_size
            for n in range(queries.shape[1]):
                logits = []
                for m in range(context.shape[1]):
                    logit = (query[sample, n, own] @ key[sample, m, own]).item() / math.sqrt(size)
                    for axis, spots in zip(measured, attention.spots.values(), strict=True):
                        columns = columns_of(axes, axis.name)
                        logit += distance_term(axis, spots, head, at[sample, n, columns], where[sample, m, columns])
                    logits.append(logit if visible is None or visible[sample, n, m] else -math.inf)
                largest = max(logits)
                weights = torch.tensor([math.exp(logit - largest) for logit in logits], dtype=torch.float64)
                taken = weights / weights.sum() @ value[sample, :, head * whole : (head + 1) * whole]
                mixed[sample, n, head * whole : (head + 1) * whole] = taken
    return attention.output(mixed)


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("space", SPACES)
@torch.no_grad()
def test_attention_equals_a_loop_with_the_distances_written_out(space):
    axes = SPACES[space]
    attention = make_attention(axes)
    width = attention.output.in_features
    queries, context = random_tokens(4, width, 1), random_tokens(6, width, 2)
    at, where = random_coords(axes, 4, 3), random_coords(axes, 6, 4)
    said = attention(queries, Geometry.of(at, axes), context, Geometry.of(where, axes))
    close(said, written_out(attention, axes, queries, at, context, where))


@pytest.mark.parametrize("space", ["plane and index", "sphere, time and level", "circle and line"])
def test_every_parameter_of_the_geometry_has_a_gradient_in_any_space(space):
    axes = SPACES[space]
    attention = make_attention(axes)
    tokens = random_tokens(7, attention.output.in_features, 1)
    at = Geometry.of(random_coords(axes, 7, 2), axes)
    attention(tokens, at, tokens, at).square().sum().backward()
    for name, parameter in attention.spots.named_parameters():
        assert parameter.grad.abs().min() > 0, name


def without(coords: torch.Tensor, axes, name: str, tokens: list[int]) -> torch.Tensor:
    """Coordinates of which some tokens lack an axis."""
    changed = coords.clone()
    changed[:, tokens, columns_of(axes, name)] = torch.nan
    return changed


LACKING = [
    ("plane and index", {"rank": [0, 2]}, (("rank",),)),
    ("plane and index", {"rank": [0, 2], "place": [2, 5]}, (("place",), ("rank",))),
    ("plane and index", {"rank": [1, 3], "place": [1, 3]}, (("place", "rank"),)),
    ("sphere, time and level", {"earth": [0, 4], "time": [0, 4], "pressure_hpa": [0, 4]}, (("earth", "time", "pressure_hpa"),)),
    ("sphere, time and level", {"time": [1]}, (("time",),)),
    ("circle and line", {"phi": [0, 1], "depth": [1, 2]}, (("phi",), ("depth",))),
]  # fmt: skip


@pytest.mark.parametrize(("space", "of_keys", "partly"), LACKING)
@torch.no_grad()
def test_a_key_that_lacks_an_axis_counts_as_if_it_were_at_the_spot(space, of_keys, partly):
    axes = SPACES[space]
    attention = make_attention(axes)
    width = attention.output.in_features
    queries, context = random_tokens(4, width, 1), random_tokens(6, width, 2)
    at, where = random_coords(axes, 4, 3), random_coords(axes, 6, 4)
    for name, tokens in of_keys.items():
        where = without(where, axes, name, tokens)
    keys = Geometry.of(where, axes, lacking=frozenset(of_keys), partly=partly)
    said = attention(queries, Geometry.of(at, axes, partly=partly), context, keys)
    close(said, written_out(attention, axes, queries, at, context, where))
    forgotten = attention(queries, Geometry.of(at, axes), context, Geometry.of(where, axes, lacking=frozenset(of_keys)))
    assert not torch.allclose(said, forgotten)  # the terms that no longer drop out count


@torch.no_grad()
def test_a_query_that_lacks_an_axis_takes_all_keys_as_equally_near_along_it():
    axes = SPACES["plane and index"]
    attention = make_attention(axes)
    width = attention.output.in_features
    queries, context = random_tokens(4, width, 1), random_tokens(6, width, 2)
    at, where = without(random_coords(axes, 4, 3), axes, "place", [1, 2]), random_coords(axes, 6, 4)
    asked = Geometry.of(at, axes, lacking=frozenset(["place"]))
    said = attention(queries, asked, context, Geometry.of(where, axes))
    close(said, written_out(attention, axes, queries, at, context, where))
    elsewhere = where.clone()
    elsewhere[..., columns_of(axes, "place")] += 3.0 * torch.arange(6)[:, None]
    moved = attention(queries, asked, context, Geometry.of(elsewhere, axes))
    assert torch.equal(said[:, 1:3], moved[:, 1:3])
    assert not torch.allclose(said[:, [0, 3]], moved[:, [0, 3]])


@torch.no_grad()
def test_a_query_and_keys_that_lack_an_axis_meet_in_one_softmax():
    axes = SPACES["plane and index"]
    attention = make_attention(axes)
    width = attention.output.in_features
    queries, context = random_tokens(4, width, 1), random_tokens(6, width, 2)
    at, where = (
        without(random_coords(axes, 4, 3), axes, "rank", [0]),
        without(random_coords(axes, 6, 4), axes, "rank", [5]),
    )
    lacks = {"lacking": frozenset(["rank"]), "partly": (("rank",),)}
    said = attention(queries, Geometry.of(at, axes, **lacks), context, Geometry.of(where, axes, **lacks))
    close(said, written_out(attention, axes, queries, at, context, where))


@pytest.mark.parametrize("partly", [(("earth",), ("time",)), (("earth", "pressure_hpa"), ("time",))])
def test_more_groups_of_lacking_axes_than_the_heads_have_room_for_are_refused(partly):
    axes = SPACES["sphere, time and level"]
    attention = make_attention(axes)
    tokens, coords = random_tokens(3, attention.output.in_features, 1), random_coords(axes, 3, 2)
    at = Geometry.of(coords, axes, partly=partly)
    with pytest.raises(ValueError, match="but these tokens need 9: too many different sets of axes"):
        attention(tokens, at, tokens, at)


def masked(axes, seed: int = 5):
    attention = make_attention(axes)
    tokens = random_tokens(6, attention.output.in_features, 1)
    coords = random_coords(axes, 6, 2)
    visible = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(seed)) > 0.4
    visible[:, :, 0] = True
    return attention, tokens, coords, visible


@torch.no_grad()
def test_a_mask_leaves_the_softmax_over_visible_keys():
    axes = SPACES["plane and index"]
    attention, tokens, coords, visible = masked(axes)
    at = Geometry.of(coords, axes)
    close(
        attention(tokens, at, tokens, at, visible),
        written_out(attention, axes, tokens, coords, tokens, coords, visible),
    )


@torch.no_grad()
def test_a_hidden_key_has_no_influence_to_the_bit():
    axes = SPACES["circle and line"]
    attention, tokens, coords, visible = masked(axes)
    visible[:, :, 4] = False
    junk, elsewhere = tokens.clone(), coords.clone()
    junk[:, 4], elsewhere[:, 4] = 1e3, 0.1
    at = Geometry.of(coords, axes)
    said = attention(tokens, at, tokens, at, visible)
    assert torch.equal(said, attention(tokens, at, junk, Geometry.of(elsewhere, axes), visible))
    visible[:, :, 4] = True
    assert not torch.allclose(said, attention(tokens, at, junk, Geometry.of(elsewhere, axes), visible))


@torch.no_grad()
def test_further_hidden_keys_change_nothing_to_the_bit():
    axes = SPACES["plane and index"]
    attention, tokens, coords, visible = (part.float() if hasattr(part, "float") else part for part in masked(axes))
    visible = visible.bool()
    at = Geometry.of(coords, axes)
    said = attention(tokens, at, tokens, at, visible)
    for more in (1, 9, 30):
        keys = torch.cat([tokens, torch.ones(2, more, tokens.shape[-1])], dim=1)
        where = torch.cat([coords, torch.ones(2, more, coords.shape[-1])], dim=1)
        sees = torch.cat([visible, torch.zeros(2, 6, more, dtype=torch.bool)], dim=2)
        assert torch.equal(said, attention(tokens, at, keys, Geometry.of(where, axes), sees))


def test_a_query_that_sees_nothing_takes_nothing_and_its_gradients_are_finite():
    axes = SPACES["plane and index"]
    attention, tokens, coords, visible = masked(axes)
    visible[:, 2] = False
    at = Geometry.of(coords, axes)
    leaf = tokens.clone().requires_grad_()
    said = attention(leaf, at, leaf, at, visible)
    assert not said[:, 2].any() and said[:, 3].any()
    said.square().sum().backward()
    assert leaf.grad.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in attention.parameters())


def test_the_size_of_the_geometry_is_that_of_metric_vectors_and_squares():
    assert geometry_size(SPACES["sphere, time and level"]) == 8  # 3 on a sphere, 1 + 1 in time, 1 + 1 in height
    assert geometry_size((*SPACES["sphere, time and level"], PLACE, RANK)) == 16  # 2 + 1 on a plane, 1 + 1 along ranks
    assert geometry_size((Axis("grid_deg", "scale"),)) == 0


SPECS = {
    "cells": TokenSpec(size=1, axes=(PLACE, RANK)),
    "points": TokenSpec(size=1, axes=(PLACE,)),
    "label": TokenSpec(vocabulary=2),
}


def tokens_of(name: str, count: int, partial: tuple[str, ...] = ()) -> Tokens:
    spec = SPECS[name]
    random = torch.Generator().manual_seed(count)
    values = torch.randn(2, count, spec.size, generator=random)
    coords = torch.randn(2, count, len(column_names(spec.axes)), generator=random)
    codes = torch.zeros(2, count, dtype=torch.int64) if spec.vocabulary else None
    return Tokens(values, coords, torch.ones_like(values, dtype=torch.bool), spec, codes=codes, partial=partial)


@pytest.mark.parametrize(
    ("streams", "partial", "groups"),
    [
        (["cells"], (), ()),
        (["points"], (), ()),  # the rank, which all lack, drops out of the softmax
        (["cells", "label"], (), (("place", "rank"),)),
        (["cells", "points"], (), (("rank",),)),
        (["cells", "points", "label"], (), (("place",), ("rank",))),
        (["cells"], ("rank",), (("rank",),)),
        (["cells"], ("rank", "place"), (("place",), ("rank",))),  # maybe not of the same tokens
        (["cells", "label"], ("rank",), (("place",), ("rank",))),
    ],
)
def test_axes_that_the_same_streams_lack_share_a_term(streams, partial, groups):
    model = StateModel(ModelOptions(width=64, heads=4, encoder_layers=1, decoder_layers=1, members=2), SPECS)
    context = {name: tokens_of(name, 3, partial if name == "cells" else ()) for name in streams}
    assert model.partly_present(context) == groups


@torch.no_grad()
def test_the_first_block_of_a_model_of_streams_with_different_axes_attends_as_the_loop_does():
    """Over cells, points, which lack the rank, and a label, which lacks all axes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        options = ModelOptions(width=HEADS * 16, heads=HEADS, encoder_layers=1, decoder_layers=1, members=2)
        model = StateModel(options, SPECS).double()
    counts = {"cells": 3, "points": 2, "label": 1}
    context = {name: tokens_of(name, count).each(_double, lambda part: part) for name, count in counts.items()}
    attention, seen = model.encoder[0].attention, []
    hook = attention.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    model.encode(context)
    hook.remove()
    (normed, said), *_ = seen
    coords = torch.cat([model.in_space(tokens) for tokens in context.values()], dim=1)
    close(said, written_out(attention, model.axes, normed, coords, normed, coords))


def _double(part: torch.Tensor) -> torch.Tensor:
    return part.double() if part.is_floating_point() else part


@torch.no_grad()
def test_a_stream_without_axes_is_visible_beside_a_padded_one():
    model = StateModel(ModelOptions(width=48, heads=3, encoder_layers=1, decoder_layers=1, members=2), SPECS)
    padded = replace(
        tokens_of("points", 4), present=torch.tensor([[True, True, True, False], [True, True, False, False]])
    )
    encoded = model.encode({"points": padded, "label": tokens_of("label", 1)})
    assert encoded.present.tolist() == [[True, True, True, False, True], [True, True, False, False, True]]
    alone = model.encode({"points": padded[:2], "label": tokens_of("label", 1)})
    torch.testing.assert_close(encoded.tokens[1, [0, 1, 4]], alone.tokens[1], rtol=0, atol=1e-5)
