"""Attention with geometry, against a naive softmax whose bias is written out. Axes as in the module."""

import math

import pytest
import torch

from statecast.models.attention import GEOMETRY_SIZE, GeometricAttention, Geometry
from statecast.streams import COORDINATES

WIDTH, HEADS = 48, 3


def random_coords(count: int, seed: int, batch: int = 2) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    low = torch.tensor([-85.0, 0.0, 0.0, 0.0, 0.0, 300.0, 1.0])
    high = torch.tensor([85.0, 360.0, 60.0, 24.0, 1.0, 1000.0, 1.0])
    return (low + (high - low) * torch.rand(batch, count, len(COORDINATES), generator=random)).double()


@pytest.fixture
def attention() -> GeometricAttention:
    """In float64, with every parameter of the geometry away from its start."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention = GeometricAttention(WIDTH, HEADS, reach_deg=25.0).double()
        with torch.no_grad():
            for name, parameter in attention.named_parameters(recurse=False):
                parameter.add_(0.3 * torch.randn_like(parameter), alpha=1.0 if name != "shift" else 2.0)
    return attention


def written_out_bias(attention: GeometricAttention, at: Geometry, where: Geometry) -> torch.Tensor:
    """-a |x_q + s - x_k|² / 2 - b (t_q + τ - t_k)² / 2 - c (l_q - l_k)² / 2 as an array B H N M."""
    biases = []
    for head in range(attention.heads):
        east, north = attention.reach * attention.shift[head]
        spot = at.place + east * at.east + north * at.north
        a = (attention.reach * attention.log_width[head].exp()) ** -2
        b, c = attention.log_width_days[head].exp() ** -2, attention.log_width_height[head].exp() ** -2
        squared = (spot[:, :, None] - where.place[:, None]).square().sum(dim=-1)
        days = at.days[:, :, None] + attention.shift_days[head] - where.days[:, None]
        height = at.height[:, :, None] - where.height[:, None]
        biases.append(-(a * squared + b * days**2 + c * height**2) / 2)
    return torch.stack(biases, dim=1)


def naive(attention: GeometricAttention, queries, at, context, where) -> torch.Tensor:
    def split(tokens):
        return tokens.unflatten(-1, (attention.heads, -1)).transpose(1, 2)

    query, key = split(attention.to_query(queries)), split(attention.to_key(context))
    logits = query @ key.transpose(-1, -2) / math.sqrt(attention.content_size) + written_out_bias(attention, at, where)
    mixed = logits.softmax(dim=-1) @ split(attention.to_value(context))
    return attention.output(mixed.transpose(1, 2).flatten(2))


def test_geometric_attention_equals_a_softmax_with_the_bias_written_out(attention):
    random = torch.Generator().manual_seed(1)
    queries, context = (torch.randn(2, n, WIDTH, generator=random).double() for n in (7, 11))
    at, where = Geometry.of(random_coords(7, seed=2)), Geometry.of(random_coords(11, seed=3))
    torch.testing.assert_close(
        attention(queries, at, context, where), naive(attention, queries, at, context, where), rtol=1e-9, atol=1e-9
    )


def test_logits_of_the_geometry_differ_from_the_formula_by_a_constant_of_each_query(attention):
    at, where = Geometry.of(random_coords(7, seed=2)), Geometry.of(random_coords(11, seed=3))
    logits = attention._query_geometry(at) @ attention._key_geometry(where).transpose(-1, -2)
    difference = logits - written_out_bias(attention, at, where)
    torch.testing.assert_close(difference, difference[..., :1].expand_as(difference), rtol=1e-9, atol=1e-9)
    assert difference[..., 0].std() > 0.1  # the constants themselves differ, or the test would say little


def looks_at(key_coords: list[dict[str, float]], **shift: list[float]) -> torch.Tensor:
    """How a query at 40° N, 20° E, 24 h, 500 hPa without content weighs the keys; each parameter of the geometry as given."""
    place = {"latitude_deg": 40.0, "longitude_deg": 20.0, "offset_h": 24.0, "pressure_hpa": 500.0}
    coords = torch.tensor(
        [[[(dict.fromkeys(COORDINATES, 0.0) | place | k)[c] for c in COORDINATES] for k in [{}, *key_coords]]]
    )
    width = GEOMETRY_SIZE + 8
    attention = GeometricAttention(width, heads=1, reach_deg=10.0)
    with torch.no_grad():
        attention.to_query.weight.zero_()
        for matrix in (attention.to_value.weight, attention.output.weight):
            matrix.copy_(torch.eye(width))
        attention.shift.zero_()
        for name, value in shift.items():
            getattr(attention, name).copy_(torch.tensor(value))
        keys = torch.eye(width)[None, : len(key_coords)]
        where = Geometry.of(coords[:, 1:])
        return attention(torch.zeros(1, 1, width), Geometry.of(coords[:, :1]), keys, where)[0, 0, : len(key_coords)]


@pytest.mark.parametrize(
    ("shift", "seen", "unseen"),
    [
        ({"shift": [[1.0, 0.0]]}, {"longitude_deg": 30.0}, {"longitude_deg": 10.0}),
        ({"shift": [[-1.0, 0.0]]}, {"longitude_deg": 10.0}, {"longitude_deg": 30.0}),
        ({"shift": [[0.0, 1.0]]}, {"latitude_deg": 50.0}, {"latitude_deg": 30.0}),
        ({"shift": [[0.0, -1.0]]}, {"latitude_deg": 30.0}, {"latitude_deg": 50.0}),
        ({"shift_days": [1.0]}, {"offset_h": 48.0}, {"offset_h": 0.0}),
        ({"shift_days": [-1.0]}, {"offset_h": 0.0}, {"offset_h": 48.0}),
    ],
)
def test_a_head_with_a_displacement_looks_to_that_side(shift, seen, unseen):
    weights = looks_at([seen, unseen], log_width=[0.0], **shift)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0))
    assert weights[0] > 0.7


def test_a_narrow_head_sees_its_own_level_and_a_wide_one_all():
    levels = [{"pressure_hpa": 500.0}, {"pressure_hpa": 850.0}]
    assert looks_at(levels, log_width_height=[-2.0])[0] > 0.99
    torch.testing.assert_close(looks_at(levels, log_width_height=[5.0]), torch.full((2,), 0.5), atol=1e-3, rtol=0)


def test_without_a_displacement_the_nearest_key_weighs_most_and_sides_are_equal():
    nearest, east, west = looks_at([{}, {"longitude_deg": 30.0}, {"longitude_deg": 10.0}], log_width=[0.0])
    assert nearest > east
    torch.testing.assert_close(east, west)


@pytest.mark.parametrize("part", [2, 5, 24])
def test_rotating_all_places_about_the_pole_by_a_part_of_a_circle_changes_nothing(attention, part):
    random = torch.Generator().manual_seed(4)
    tokens, coords = torch.randn(2, 9, WIDTH, generator=random).double(), random_coords(9, seed=5)
    rotated = coords.clone()
    rotated[..., 1] = (coords[..., 1] + 360 / part) % 360
    at, turned = Geometry.of(coords), Geometry.of(rotated)
    torch.testing.assert_close(attention(tokens, at, tokens, at), attention(tokens, turned, tokens, turned))
    with_one_side_turned = attention(tokens, at, tokens, turned)
    assert not torch.allclose(attention(tokens, at, tokens, at), with_one_side_turned)


def test_shifting_the_origin_of_time_changes_nothing(attention):
    random = torch.Generator().manual_seed(4)
    tokens, coords = torch.randn(2, 9, WIDTH, generator=random).double(), random_coords(9, seed=5)
    later = coords.clone()
    later[..., 2] += 36
    at, shifted = Geometry.of(coords), Geometry.of(later)
    torch.testing.assert_close(attention(tokens, at, tokens, at), attention(tokens, shifted, tokens, shifted))


def test_every_parameter_of_the_geometry_gets_a_gradient_if_places_times_and_levels_differ(attention):
    random = torch.Generator().manual_seed(4)
    tokens = torch.randn(2, 9, WIDTH, generator=random).double()
    at = Geometry.of(random_coords(9, seed=5))
    attention(tokens, at, tokens, at).square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad.abs().min() > 0, name


def test_a_single_level_gives_the_width_in_height_no_gradient(attention):
    """All keys are then as far, and what is the same for all keys drops out of the softmax."""
    random = torch.Generator().manual_seed(4)
    tokens, coords = torch.randn(2, 9, WIDTH, generator=random).double(), random_coords(9, seed=5)
    coords[..., 5] = 500.0
    at = Geometry.of(coords)
    attention(tokens, at, tokens, at).square().sum().backward()
    assert attention.log_width_height.grad.abs().max() < 1e-12
    assert attention.log_width.grad.abs().min() > 1e-6


def test_places_survive_autocast_to_bfloat16():
    """With keys in bfloat16 a token's place would be off by degrees, and outputs by several per cent."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        attention = GeometricAttention(64, 4, reach_deg=7.5)
        lat, lon = torch.meshgrid(torch.linspace(-86, 86, 12), torch.arange(24) * 15.0, indexing="ij")
        coords = torch.zeros(1, lat.numel(), len(COORDINATES))
        coords[0, :, 0], coords[0, :, 1], coords[..., 5] = lat.flatten(), lon.flatten(), 850.0
        tokens, at = torch.randn(1, lat.numel(), 64), Geometry.of(coords)
    exact = attention(tokens, at, tokens, at)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = attention(tokens, at, tokens, at).float()
    assert (rounded - exact).abs().mean() < 0.01 * exact.abs().mean()


@pytest.mark.parametrize(("width", "heads"), [(50, 4), (32, 4), (24, 4)])
def test_a_width_that_leaves_no_room_for_content_is_refused(width, heads):
    with pytest.raises(ValueError, match=f"width {width} with {heads} heads"):
        GeometricAttention(width, heads, reach_deg=10.0)


@pytest.mark.parametrize("heads", [1, 2, 4, 8])
def test_heads_start_straight_ahead_or_on_a_ring_of_one_reach(heads):
    attention = GeometricAttention(16 * heads, heads, reach_deg=10.0)
    radius = attention.shift.norm(dim=-1)
    assert ((radius < 1e-6) | ((radius - 1).abs() < 1e-6)).all()
    assert (radius < 1e-6).sum() == max(1, heads // 4)
