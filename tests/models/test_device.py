"""What a model does on a GPU is what it does on a CPU. Where there is no GPU, a device that refuses what a GPU would (`elsewhere`)."""

import copy

import pytest
import torch
from torch.utils._pytree import tree_map

from statecast.axes import Axis
from statecast.models import Draws, ModelOptions, StateModel, log_likelihood
from statecast.models.generation import generate
from statecast.models.losses import question_loss
from statecast.streams import Question, Tokens, TokenSpec, padded, stack
from statecast.training.optimiser import make_optimiser
from statecast.training.options import TrainingOptions

CLOSE = {"rtol": 1e-3, "atol": 1e-4}  # sums in another order


def assert_close(found, expected, **tolerance):
    torch.testing.assert_close(tree_map(lambda x: x.detach().cpu(), found), expected, **(CLOSE | tolerance))


def step(model: StateModel, question: Question) -> dict[str, torch.Tensor]:
    """The loss of a question, and the weights after a step."""
    optimiser, _ = make_optimiser(model, TrainingOptions(learning_rate=1e-3))
    loss = question_loss(model, model.attempt(question), question)
    loss.backward()
    optimiser.step()
    return {"loss": loss.detach(), **{name: value.detach() for name, value in model.state_dict().items()}}


@pytest.mark.parametrize("options", [{}, {"head": "flow", "flow_layers": 1}], ids=str)
def test_a_training_step_is_that_of_the_cpu(make_model, question, device, options):
    model = make_model(**options)
    expected = step(copy.deepcopy(model), question)
    assert_close(step(model.to(device), question.to(device)), expected)


def test_recomputed_activations_give_the_same_step(make_model, question, device):
    model = make_model().train()
    expected = step(copy.deepcopy(model), question)
    model.recomputes = True
    assert_close(step(model.to(device), question.to(device)), expected)


@pytest.mark.parametrize(
    "draws",
    [Draws(members=2, steps=1), Draws(members=2, steps=1, solver="euler", guidance=2.0, conditions=("surface",))],
)
def test_members_of_a_flow_head_are_the_same_on_every_device(make_model, question, device, draws):
    model = make_model(head="flow", flow_layers=1).eval()
    with torch.no_grad():
        expected = {name: said.members for name, said in model.answer(question, draws).items()}
        found = {name: said.members for name, said in model.to(device).answer(question.to(device), draws).items()}
    assert_close(found, expected)


def test_the_density_of_a_flow_head_is_that_of_the_cpu(make_model, question, device):
    model = make_model(head="flow", flow_layers=1).eval()
    draws = Draws(steps=1)
    expected = log_likelihood(model, question, draws, probes=2)
    assert_close(log_likelihood(model.to(device), question.to(device), draws, probes=2), expected)


WORDS = TokenSpec(vocabulary=7, axes=(Axis("index", "index", "1", 1.0),), order="index", ragged=True)
SIZES = TokenSpec(size=1, axes=(Axis("index", "index", "1", 1.0),), order="index", ragged=True)


def words(spec: TokenSpec, length: int, seed: int) -> Tokens:
    random = torch.Generator().manual_seed(seed)
    observed = torch.ones(length, spec.size, dtype=torch.bool)
    codes = torch.randint(7, (length,), generator=random) if spec.vocabulary else None
    return Tokens(
        torch.randn(length, spec.size, generator=random),
        torch.arange(length * 1.0)[:, None],
        observed,
        spec,
        codes=codes,
    )


@pytest.fixture
def sequences() -> tuple[StateModel, Question]:
    """A causal question about codes and values of two samples, one of which is padded."""
    torch.manual_seed(0)
    specs = {"words": WORDS, "sizes": SIZES}
    model = StateModel(ModelOptions(width=32, heads=2, encoder_layers=1, decoder_layers=1, members=4), specs)
    windows = [{name: padded(words(spec, length, length), 4) for name, spec in specs.items()} for length in (4, 3)]
    return model, Question(stack(windows), stack(windows), causal=True)


def test_codes_and_padding_are_those_of_the_cpu(sequences, device):
    model, question = sequences
    expected = step(copy.deepcopy(model), question)
    assert_close(step(model.to(device), question.to(device)), expected)


@pytest.mark.parametrize("name", ["words", "sizes"])
def test_drawn_sequences_are_the_same_on_every_device_and_for_another_seed_others(sequences, device, name):
    model, question = sequences
    places = question.queries[name]

    def drawn(on: str, seed: int) -> Tokens:
        random = torch.Generator().manual_seed(seed)
        found = generate(model.to(on), {}, name, places.to(on), random)
        return found.to("cpu")

    expected, found, other = drawn("cpu", 0), drawn(device, 0), drawn(device, 1)
    if name == "words":
        assert torch.equal(found.codes, expected.codes) and not torch.equal(found.codes, other.codes)
    else:
        assert_close(found.values, expected.values)
        assert not torch.equal(found.values, other.values)


@pytest.mark.parametrize("options", [{}, {"head": "flow", "flow_layers": 1}], ids=str)
@pytest.mark.gpu
def test_in_bfloat16_the_loss_is_near_that_of_the_cpu(make_model, question, options):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    model = make_model(**options)
    expected = question_loss(model, model.attempt(question), question).item()
    model, question = model.cuda(), question.to("cuda")
    with torch.autocast("cuda", torch.bfloat16):
        loss = question_loss(model, model.attempt(question), question)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(expected, rel=0.02)
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
