"""Attention with geometry, against a naive softmax whose bias is written out. Axes as in the module."""

import math

import pytest
import torch

from statecast.axes import Axis, column_names, columns_of
from statecast.models.attention import GeometricAttention, Geometry, geometry_size, in_bfloat16

WIDTH, HEADS = 96, 3
RANGES = {
    "latitude_deg": (-85.0, 85.0),
    "longitude_deg": (0.0, 360.0),
    "offset_h": (0.0, 60.0),
    "hour_utc": (0.0, 24.0),
    "solar_time_rad": (0.0, 2 * math.pi),
    "year_fraction": (0.0, 1.0),
    "pressure_hpa": (300.0, 1000.0),
    "x": (0.0, 20.0),
    "y": (0.0, 20.0),
    "phi": (0.0, 2 * math.pi),
    "depth": (0.0, 100.0),
    "rank": (0.0, 12.0),
}


def sky(reach_deg: float) -> tuple[Axis, ...]:
    """The axes of an atmosphere; spots on the sphere start with the size of `reach_deg`."""
    return Axis("place", "sphere", "degree", reach_deg), Axis("time", "time", "h"), Axis("pressure_hpa", "level", "hPa")


SKY = sky(25.0)
IMAGE = (Axis("pixel", "plane", spacing=4.0), Axis("rank", "index"))
DETECTOR = (Axis("phi", "circle", "rad", 0.4), Axis("depth", "line", "cm", 10.0))


def random_coords(count: int, seed: int, axes: tuple[Axis, ...] = SKY, batch: int = 2) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    low, high = torch.tensor([RANGES[column] for column in column_names(axes)]).T
    return (low + (high - low) * torch.rand(batch, count, len(low), generator=random)).double()


def seeded(axes: tuple[Axis, ...]) -> GeometricAttention:
    """In float64, with every parameter of the geometry away from its start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention = GeometricAttention(WIDTH, HEADS, axes).double()
        with torch.no_grad():
            for name, parameter in attention.spots.named_parameters():
                parameter.add_(0.3 * torch.randn_like(parameter), alpha=2.0 if name.endswith("shift") else 1.0)
    return attention


@pytest.fixture
def attention() -> GeometricAttention:
    return seeded(SKY)


def written_out_bias(attention: GeometricAttention, at: Geometry, where: Geometry) -> torch.Tensor:
    """sum over axes of -a |e(x_q) + s - e(x_k)|² / 2 as an array B H N M; 0 along an axis that query or key lacks."""
    total = 0.0
    for axis, spots in attention.spots.items():
        query, key, biases = at.along[axis], where.along[axis], []
        for head in range(attention.heads):
            spot = query.metric
            if query.frame is not None:
                spot = spot + torch.einsum("s,bnsk->bnk", spots.reach * spots.shift[head], query.frame)
            a = (spots.reach * spots.log_width[head].exp()) ** -2
            biases.append(-a * (spot[:, :, None] - key.metric[:, None]).square().sum(dim=-1) / 2)
        bias = torch.stack(biases, dim=1)
        if query.has is not None:
            bias = bias * query.has[:, None, :, None]
        if key.has is not None:
            bias = bias * key.has[:, None, None, :]
        total = total + bias
    return total


def naive(attention: GeometricAttention, queries, at, context, where) -> torch.Tensor:
    def split(tokens):
        return tokens.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

    query, key = split(attention.to_query(queries)), split(attention.to_key(context))
    logits = query @ key.transpose(-1, -2) / math.sqrt(attention.content_size) + written_out_bias(attention, at, where)
    mixed = logits.softmax(dim=-1) @ split(attention.to_value(context))
    return attention.output(mixed.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("axes", [SKY, IMAGE, DETECTOR, (*SKY, *IMAGE)])
def test_geometric_attention_equals_a_softmax_with_the_bias_written_out(axes):
    attention, random = seeded(axes), torch.Generator().manual_seed(1)
    queries, context = (torch.randn(2, n, WIDTH, generator=random).double() for n in (7, 11))
    at, where = Geometry.of(random_coords(7, 2, axes), axes), Geometry.of(random_coords(11, 3, axes), axes)
    torch.testing.assert_close(
        attention(queries, at, context, where), naive(attention, queries, at, context, where), rtol=1e-9, atol=1e-9
    )


def lacking_some(coords: torch.Tensor, axes: tuple[Axis, ...], axis: str) -> torch.Tensor:
    """The same coordinates, every third token without one of the axes."""
    coords = coords.clone()
    coords[:, ::3, columns_of(axes, axis)] = torch.nan
    return coords


@pytest.mark.parametrize(("axes", "axis"), [(SKY, "place"), (IMAGE, "pixel"), (IMAGE, "rank"), (DETECTOR, "phi")])
def test_a_key_that_lacks_an_axis_is_at_the_spot_itself_and_a_query_that_lacks_it_takes_all_keys_alike(axes, axis):
    attention, random, lacking = seeded(axes), torch.Generator().manual_seed(1), frozenset({axis})
    queries, context = (torch.randn(2, n, WIDTH, generator=random).double() for n in (7, 11))
    at, where = (
        Geometry.of(lacking_some(random_coords(n, n, axes), axes, axis), axes, lacking=lacking, partly=((axis,),))
        for n in (7, 11)
    )
    found = attention(queries, at, context, where)
    torch.testing.assert_close(found, naive(attention, queries, at, context, where), rtol=1e-9, atol=1e-9)


def test_an_axis_that_all_keys_lack_has_no_part_in_it(attention):
    random = torch.Generator().manual_seed(1)
    queries, context = (torch.randn(2, n, WIDTH, generator=random).double() for n in (7, 11))
    at, lacking = random_coords(7, 2), frozenset({"place"})
    coords = random_coords(11, 3)
    coords[..., columns_of(SKY, "place")] = torch.nan
    where = Geometry.of(coords, SKY, lacking=lacking)
    moved = at.clone()
    moved[..., 1] += 90
    found = attention(queries, Geometry.of(at, SKY), context, where)
    torch.testing.assert_close(attention(queries, Geometry.of(moved, SKY), context, where), found)
    torch.testing.assert_close(found, naive(attention, queries, Geometry.of(at, SKY), context, where))


def test_streams_that_lack_axes_in_more_ways_than_the_heads_have_room_for_are_refused():
    attention, partly = seeded(SKY), (("place",), ("time",))  # 8 values a head, of which the metrics take 7
    at = Geometry.of(random_coords(7, seed=2), SKY, partly=partly)
    with pytest.raises(
        ValueError, match=r"the heads have 8 values for the geometry, but these tokens need 9.*same axes"
    ):
        attention(torch.zeros(2, 7, WIDTH).double(), at, torch.zeros(2, 7, WIDTH).double(), at)


@pytest.mark.parametrize("axes", [SKY, IMAGE, DETECTOR])
def test_logits_of_the_geometry_differ_from_the_formula_by_a_constant_of_each_query(axes):
    attention = seeded(axes)
    at, where = Geometry.of(random_coords(7, 2, axes), axes), Geometry.of(random_coords(11, 3, axes), axes)
    query, key, _ = attention.project(torch.zeros(2, 7, WIDTH).double(), at, torch.zeros(2, 11, WIDTH).double(), where)
    difference = query @ key.transpose(-1, -2) - written_out_bias(attention, at, where)
    torch.testing.assert_close(difference, difference[..., :1].expand_as(difference), rtol=1e-9, atol=1e-9)
    assert difference[..., 0].std() > 0.1  # the constants themselves differ, or the test would say little


def looks_at(key_coords: list[dict[str, float]], **parameters: list[float]) -> torch.Tensor:
    """How a query at 40° N, 20° E, 24 h, 500 hPa without content weighs the keys; each parameter of the geometry, `AXIS_NAME`, as given."""
    place = {"latitude_deg": 40.0, "longitude_deg": 20.0, "offset_h": 24.0, "pressure_hpa": 500.0}
    axes, columns = sky(10.0), column_names(SKY)
    coords = torch.tensor(
        [[[(dict.fromkeys(columns, 0.0) | place | k)[c] for c in columns] for k in [{}, *key_coords]]]
    )
    width = geometry_size(axes) + 8
    attention = GeometricAttention(width, 1, axes)
    with torch.no_grad():
        attention.to_query.weight.zero_()
        for matrix in (attention.to_value.weight, attention.output.weight):
            matrix.copy_(torch.eye(width))
        attention.spots["place"].shift.zero_()
        for name, value in parameters.items():
            axis, _, parameter = name.partition("_")
            spots = attention.spots["pressure_hpa" if axis == "pressure" else axis]
            getattr(spots, parameter).copy_(torch.tensor(value))
        keys = torch.eye(width)[None, : len(key_coords)]
        at, where = Geometry.of(coords[:, :1], axes), Geometry.of(coords[:, 1:], axes)
        return attention(torch.zeros(1, 1, width), at, keys, where)[0, 0, : len(key_coords)]


@pytest.mark.parametrize(
    ("shift", "seen", "unseen"),
    [
        ({"place_shift": [[1.0, 0.0]]}, {"longitude_deg": 30.0}, {"longitude_deg": 10.0}),
        ({"place_shift": [[-1.0, 0.0]]}, {"longitude_deg": 10.0}, {"longitude_deg": 30.0}),
        ({"place_shift": [[0.0, 1.0]]}, {"latitude_deg": 50.0}, {"latitude_deg": 30.0}),
        ({"place_shift": [[0.0, -1.0]]}, {"latitude_deg": 30.0}, {"latitude_deg": 50.0}),
        ({"time_shift": [[1.0]]}, {"offset_h": 48.0}, {"offset_h": 0.0}),
        ({"time_shift": [[-1.0]]}, {"offset_h": 0.0}, {"offset_h": 48.0}),
    ],
)
def test_a_head_with_a_displacement_looks_to_that_side(shift, seen, unseen):
    weights = looks_at([seen, unseen], place_log_width=[0.0], **shift)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    assert weights[0] > 0.7


def test_a_narrow_head_sees_its_own_level_and_a_wide_one_all():
    levels = [{"pressure_hpa": 500.0}, {"pressure_hpa": 850.0}]
    assert looks_at(levels, pressure_log_width=[-2.0])[0] > 0.99
    torch.testing.assert_close(looks_at(levels, pressure_log_width=[5.0]), torch.full((2,), 0.5), atol=1e-3, rtol=0)


def test_without_a_displacement_the_nearest_key_weighs_most_and_sides_are_equal():
    nearest, east, west = looks_at([{}, {"longitude_deg": 30.0}, {"longitude_deg": 10.0}], place_log_width=[0.0])
    assert nearest > east
    torch.testing.assert_close(east, west)


@pytest.mark.parametrize("part", [2, 5, 24])
def test_rotating_all_places_about_the_pole_by_a_part_of_a_circle_changes_nothing(attention, part):
    random = torch.Generator().manual_seed(4)
    tokens, coords = torch.randn(2, 9, WIDTH, generator=random).double(), random_coords(9, seed=5)
    rotated = coords.clone()
    rotated[..., 1] = (coords[..., 1] + 360 / part) % 360
    at, turned = Geometry.of(coords, SKY), Geometry.of(rotated, SKY)
    torch.testing.assert_close(attention(tokens, at, tokens, at), attention(tokens, turned, tokens, turned))
    with_one_side_turned = attention(tokens, at, tokens, turned)
    assert not torch.allclose(attention(tokens, at, tokens, at), with_one_side_turned)


def test_shifting_the_origin_of_time_changes_nothing(attention):
    random = torch.Generator().manual_seed(4)
    tokens, coords = torch.randn(2, 9, WIDTH, generator=random).double(), random_coords(9, seed=5)
    later = coords.clone()
    later[..., 2] += 36
    at, shifted = Geometry.of(coords, SKY), Geometry.of(later, SKY)
    torch.testing.assert_close(attention(tokens, at, tokens, at), attention(tokens, shifted, tokens, shifted))


def test_every_parameter_of_the_geometry_gets_a_gradient_if_places_times_and_levels_differ(attention):
    random = torch.Generator().manual_seed(4)
    tokens = torch.randn(2, 9, WIDTH, generator=random).double()
    at = Geometry.of(random_coords(9, seed=5), SKY)
    attention(tokens, at, tokens, at).square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad.abs().min() > 0, name


def test_a_single_level_gives_the_width_in_height_no_gradient(attention):
    """All keys are then as far, and what is the same for all keys drops out of the softmax."""
    random = torch.Generator().manual_seed(4)
    tokens, coords = torch.randn(2, 9, WIDTH, generator=random).double(), random_coords(9, seed=5)
    coords[..., columns_of(SKY, "pressure_hpa")] = 500.0
    at = Geometry.of(coords, SKY)
    attention(tokens, at, tokens, at).square().sum().backward()
    assert attention.spots["pressure_hpa"].log_width.grad.abs().max() < 1e-12
    assert attention.spots["place"].log_width.grad.abs().min() > 1e-6


def test_places_survive_autocast_to_bfloat16():
    """With keys in bfloat16 a token's place would be off by degrees, and outputs by several per cent."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        axes = sky(7.5)
        attention = GeometricAttention(64, 4, axes)
        lat, lon = torch.meshgrid(torch.linspace(-86, 86, 12), torch.arange(24) * 15.0, indexing="ij")
        coords = torch.zeros(1, lat.numel(), len(column_names(axes)))
        coords[0, :, 0], coords[0, :, 1], coords[..., -1] = lat.flatten(), lon.flatten(), 850.0
        tokens, at = torch.randn(1, lat.numel(), 64), Geometry.of(coords, axes)
    exact = attention(tokens, at, tokens, at)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = attention(tokens, at, tokens, at).float()
    assert (rounded - exact).abs().mean() < 0.01 * exact.abs().mean()


@pytest.mark.parametrize(("width", "heads"), [(50, 4), (32, 4), (24, 4)])
def test_a_width_that_leaves_no_room_for_content_is_refused(width, heads):
    with pytest.raises(ValueError, match=f"width {width} with {heads} heads"):
        GeometricAttention(width, heads, SKY)


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
@pytest.mark.parametrize("axes", [SKY, IMAGE])
def test_heads_start_straight_ahead_or_on_a_ring_of_one_reach(heads, axes):
    attention = GeometricAttention(16 * heads, heads, axes)
    radius = attention.spots[axes[0].name].shift.norm(dim=-1)
    assert ((radius < 1e-6) | ((radius - 1).abs() < 1e-6)).all()
    assert (radius < 1e-6).sum() == max(1, heads // 4)


def test_heads_along_ranks_start_straight_ahead_or_one_or_two_tokens_aside():
    attention = GeometricAttention(16 * 8, 8, IMAGE)
    assert attention.spots["rank"].shift[:, 0].tolist() == [0, 0, -1, 1, -2, 2, -1, 1]


def test_what_a_query_does_not_see_changes_nothing_and_one_that_sees_nothing_takes_nothing(attention):
    random = torch.Generator().manual_seed(4)
    tokens = torch.randn(2, 9, WIDTH, generator=random).double()
    at = Geometry.of(random_coords(9, seed=5), SKY)
    visible = torch.ones(9, 9, dtype=torch.bool).tril(-1).expand(2, -1, -1)
    found = attention(tokens, at, tokens, at, visible)
    assert not found[:, 0].any()
    first = Geometry.of(random_coords(9, seed=5)[:, :4], SKY)
    query = Geometry.of(random_coords(9, seed=5)[:, 4:5], SKY)
    torch.testing.assert_close(found[:, 4:5], attention(tokens[:, 4:5], query, tokens[:, :4], first))


def test_in_bfloat16_places_keep_twice_the_bits_and_gradients_are_those_of_full_precision():
    """The sharpest spots, of tokens 2 degrees wide. In plain bfloat16 their logits are off by several units."""
    torch.manual_seed(0)
    axes = (Axis("place", "sphere", "degree", 2.0), Axis("time", "time", "h"))
    attention = GeometricAttention(32, 2, axes)
    coords = torch.zeros(1, 200, 6)
    coords[..., 0], coords[..., 1], coords[..., 2] = 60 * torch.rand(200), 60 * torch.rand(200), 36 * torch.rand(200)
    at, tokens = Geometry.of(coords, axes), torch.zeros(1, 200, 32)
    query, key, value = (part.detach().requires_grad_() for part in attention.project(tokens, at, tokens, at))
    expected = query @ key.mT
    low_query, low_key, _ = in_bfloat16(query, key, value, attention.geometry_size)
    logits, plain = low_query.float() @ low_key.float().mT, query.bfloat16().float() @ key.bfloat16().float().mT
    assert (logits - expected).abs().max() < 0.05 < 1 < (plain - expected).abs().max()
    weight = torch.randn(expected.shape)
    (found,) = torch.autograd.grad((logits * weight).sum(), query)
    (of_full,) = torch.autograd.grad((expected * weight).sum(), query)
    size = attention.geometry_size
    torch.testing.assert_close(found[..., -size:], of_full[..., -size:], rtol=1e-2, atol=1e-2 * of_full.std().item())
