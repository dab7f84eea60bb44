"""A Hugging Face encoder inside the model: what it reads, what is saved of it, what may change, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from tiny_domains import chain
from tokenizers import Tokenizer, models

import statecast
from statecast.adaptation import AdaptationOptions, all_but_the_encoder, learning_rate_shares, trainable_only
from statecast.axes import Axis
from statecast.config import RecipeError, read_recipe
from statecast.costs import size_of
from statecast.costs.memory import Counts, blank_question
from statecast.models import ModelOptions, StateModel
from statecast.models.generation import generate
from statecast.models.hugging_face import EncoderError, encoder_files
from statecast.models.losses import question_loss
from statecast.models.operations import count_flops, encoder_flops, sample_flops
from statecast.streams import Question, Tokens, TokenSpec, stack
from statecast.trained import ModelError, load
from statecast.verbs import explain

WORDS = {"a": 0, "b": 1, "c": 2, "d": 3, "[MASK]": 4, "[PAD]": 5}
BERT = transformers.BertConfig(
    vocab_size=6,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=20,
)
GPT2 = transformers.GPT2Config(vocab_size=6, n_embd=16, n_layer=2, n_head=2, n_positions=20)
PLANE = (Axis("place", "plane", spacing=4.0),)
GREY = TokenSpec(size=16, axes=PLANE, layout=(1, 1, 16))
RESNET = transformers.ResNetConfig(
    num_channels=1, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
)
CONVNEXT = transformers.ConvNextConfig(num_channels=1, hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, patch_size=4)
VIT = transformers.ViTConfig(
    num_channels=1,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    image_size=16,
    patch_size=4,
)
OF_KIND = {"bert": BERT, "gpt2": GPT2, "resnet": RESNET, "convnext": CONVNEXT, "vit": VIT}


@pytest.fixture(scope="session")
def encoders(tmp_path_factory) -> dict[str, Path]:
    """The directory of a tiny model of each kind; those of texts with a tokenizer of the chain's states."""
    found = {}
    for kind, config in OF_KIND.items():
        directory = tmp_path_factory.mktemp(kind)
        torch.manual_seed(0)
        transformers.AutoModel.from_config(config).save_pretrained(directory)
        if kind in ("bert", "gpt2"):
            special = {"mask_token": "[MASK]"} if kind == "bert" else {}
            words = Tokenizer(models.WordLevel(WORDS, unk_token="[PAD]"))
            transformers.PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", **special).save_pretrained(
                directory
            )
        found[kind] = directory
    return found


def options(encoder: Path, **changes) -> ModelOptions:
    sizes = {"width": 32, "heads": 2, "decoder_layers": 1, "members": 2}
    return ModelOptions(encoder=f"hf:{encoder}", **sizes | changes)


def of_chain(encoder: Path, **changes) -> StateModel:
    torch.manual_seed(0)
    model = StateModel(options(encoder, encoder_streams=("states",), **changes), {"states": chain.SPEC})
    model.pretrained.load()
    return model.eval()


def of_image(encoder: Path) -> StateModel:
    torch.manual_seed(0)
    return StateModel(options(encoder), {"grey": GREY}).eval()


def states(codes, ranks=None) -> Tokens:
    """One sample of the chain."""
    codes = torch.tensor(codes)
    ranks = torch.arange(len(codes)) if ranks is None else torch.tensor(ranks)
    empty = torch.zeros(1, len(codes), 0)
    return Tokens(empty, ranks[None, :, None].float(), empty.bool(), chain.SPEC, codes=codes[None])


def patches(rows: int = 4, columns: int = 4) -> tuple[Tokens, torch.Tensor]:
    """A random image, cut into patches whose places are their corners, and its pixels."""
    torch.manual_seed(1)
    pixels = torch.randn(1, 1, 4 * rows, 4 * columns)
    values = pixels.unfold(2, 4, 4).unfold(3, 4, 4).reshape(1, rows * columns, 16)
    y, x = (4.0 * each.flatten() for each in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
    return Tokens(values, torch.stack([x, y], dim=-1)[None], torch.ones_like(values, dtype=torch.bool), GREY), pixels


def plain(directory: Path) -> torch.nn.Module:
    return transformers.AutoModel.from_pretrained(directory).eval()


def test_codes_in_any_order_have_the_features_of_the_sequence_with_masks_between(encoders):
    model = of_chain(encoders["bert"])
    shown = states([3, 0, 2], ranks=[4, 0, 1])  # 2 and 3 are hidden
    with torch.no_grad():
        encoded = model.encode({"states": shown})
        expected = plain(encoders["bert"])(input_ids=torch.tensor([[0, 2, 4, 4, 3]])).last_hidden_state
        ours = model.pretrained(model.completed({"states": shown})["states"])
    expected = model.pretrained.project(expected)
    torch.testing.assert_close(ours, expected[:, [4, 0, 1, 2, 3]])
    assert encoded.tokens.shape == (1, 5, 32) and encoded.spans["states"] == slice(0, 5)


def test_padding_changes_no_answer(encoders):
    model = of_chain(encoders["bert"])
    spec = replace(chain.SPEC, ragged=True)
    short, long = (replace(states(codes), spec=spec) for codes in ([0, 1, 2], [1, 2, 3, 0, 1]))
    samples = [{"states": tokens.each(lambda part: part[0], lambda part: part[0])} for tokens in (short, long)]
    asked = states([0], ranks=[6])
    with torch.no_grad():
        alone = model({"states": short}, {"states": asked})["states"].logits
        together = model(
            stack(samples), {"states": asked.each(lambda p: p.expand(2, -1, -1), lambda p: p.expand(2, -1))}
        )
    torch.testing.assert_close(together["states"].logits[:1], alone, atol=1e-5, rtol=1e-4)


def test_a_model_that_reads_forward_answers_next_tokens_from_those_before(encoders):
    model = of_chain(encoders["gpt2"])
    with torch.no_grad():
        one, other = (
            model({"states": s}, {"states": s}, causal=True)["states"].logits
            for s in (states([0, 1, 2, 3]), states([0, 1, 2, 0]))
        )
    torch.testing.assert_close(one, other)  # the last code is seen by none


def test_generation_is_the_same_with_and_without_our_cache(encoders):
    model = of_chain(encoders["gpt2"], encoder_layers=1)
    begun = {"states": states([0, 1]).each(lambda p: p.expand(2, -1, -1), lambda p: p.expand(2, -1))}
    places = states([0] * 4, ranks=[2, 3, 4, 5]).each(lambda p: p.expand(2, -1, -1), lambda p: p.expand(2, -1))
    drawn = [
        generate(model, begun, "states", places, torch.Generator().manual_seed(0), is_cached=is_cached).codes
        for is_cached in (True, False)
    ]
    assert torch.equal(*drawn)


def test_a_model_that_reads_both_ways_is_not_asked_for_next_tokens(encoders):
    model, tokens = of_chain(encoders["bert"]), states([0, 1])
    with pytest.raises(EncoderError, match="sees what comes later"):
        model({"states": tokens}, {"states": tokens}, causal=True)


def test_hidden_tokens_need_a_mask_token(encoders):
    with pytest.raises(EncoderError, match="no mask token"):
        of_chain(encoders["gpt2"]).encode({"states": states([0, 1], ranks=[0, 2])})


def test_a_sequence_may_be_too_long(encoders):
    with pytest.raises(EncoderError, match=r"up to 20 tokens, got a sequence of 21"):
        of_chain(encoders["bert"]).encode({"states": states([0] * 21)})


@pytest.mark.parametrize("kind", ["resnet", "convnext", "vit"])
def test_patches_in_any_order_make_up_the_image(encoders, kind):
    model = of_image(encoders[kind])
    tokens, pixels = patches()
    mixed = torch.randperm(16)
    read: list[torch.Tensor] = []
    model.pretrained.model.register_forward_pre_hook(
        lambda m, a, inputs: read.append(inputs["pixel_values"]), with_kwargs=True
    )
    with torch.no_grad():
        straight, scrambled = (model.encode({"grey": each}).tokens for each in (tokens, tokens[mixed]))
    assert all(torch.equal(each, pixels) for each in read)
    torch.testing.assert_close(scrambled, straight[:, mixed])


def test_features_of_a_vision_transformer_are_those_of_its_own_patches(encoders):
    model, (tokens, pixels) = of_image(encoders["vit"]), patches()
    model.pretrained.load()
    with torch.no_grad():
        own = plain(encoders["vit"])(pixel_values=pixels).last_hidden_state[:, 1:]  # without that of the class
        torch.testing.assert_close(model.pretrained(tokens), model.pretrained.project(own))


def test_hidden_patches_are_zero_and_get_features(encoders):
    model, (tokens, pixels) = of_image(encoders["resnet"]), patches()
    shown = model.completed({"grey": tokens[torch.arange(1, 16)]})["grey"]
    assert shown.coords[0, 15].tolist() == [0.0, 0.0] and not shown.observed[0, 15].any() and len(shown) == 16
    pixels[..., :4, :4] = 0
    torch.testing.assert_close(model.pretrained._pixels(shown, model.pretrained._lattice(shown)), pixels)


@pytest.mark.parametrize("kind", ["bert", "resnet"])
def test_every_weight_that_is_used_has_a_gradient(encoders, kind):
    if kind == "bert":
        model, question = (
            of_chain(encoders[kind]),
            Question({"states": states([0, 1], [0, 2])}, {"states": states([2], [1])}),
        )
    else:
        model, (tokens, _) = of_image(encoders[kind]), patches()
        question = Question({"grey": tokens[:12]}, {"grey": tokens[12:]})
    model.train()
    question_loss(model, model.attempt(question), question).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {name for name in dict(model.named_parameters()) if "pooler" in name}
    assert not model.pretrained.model.training  # neither dropout nor running means


def test_weights_of_an_encoder_may_be_frozen_updated_or_slower(encoders):
    model = of_chain(encoders["bert"], encoder_layers=1)
    report = all_but_the_encoder(model)
    with trainable_only(model, AdaptationOptions(change="new"), report):
        assert {n for n, p in model.named_parameters() if not p.requires_grad} == {
            n for n, _ in model.named_parameters() if n.startswith("pretrained.model.")
        }
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with trainable_only(model, AdaptationOptions(change="lora", rank=2), report):
        updated = {n.split(".lora_")[0] for n, p in model.named_parameters() if ".lora_" in n}
        assert updated and all(name.startswith("pretrained.model.") for name in updated)
    assert before.keys() == model.state_dict().keys()
    shares = learning_rate_shares(model, 0.5)
    assert shares["heads.states.weight" if "heads.states.weight" in shares else "code_heads.states.weight"] == 1
    assert shares["encoder.0.norm.weight"] == 0.25 and shares["pretrained.project.weight"] == 0.125
    assert shares["pretrained.model.encoder.layer.1.output.dense.weight"] == 0.125
    assert shares["pretrained.model.embeddings.word_embeddings.weight"] == 0.5**5


def test_low_rank_updates_of_a_gpt2(encoders):
    model = of_chain(encoders["gpt2"])
    with trainable_only(model, AdaptationOptions(change="lora", rank=2), all_but_the_encoder(model)):
        assert any("c_attn.lora_A" in name for name, _ in model.named_parameters())


def test_operations_are_counted(encoders):
    chosen = options(encoders["bert"], encoder_streams=("states",))
    counts = Counts({"states": 12}, {"states": 3})
    of_encoder = encoder_flops(chosen, {"states": chain.SPEC}, counts.shown, learns=True)
    model = StateModel(chosen, {"states": chain.SPEC})
    expected = count_flops(model, blank_question({"states": chain.SPEC}, counts))
    assert of_encoder + sample_flops(chosen, {"states": chain.SPEC}, counts.shown, counts.asked) == expected
    assert encoder_flops(chosen, {"states": chain.SPEC}, counts.shown, learns=False) < of_encoder / 2


# --- a run --------------------------------------------------------------------------------------------------------------------------------


def recipe(file: Path, encoder: Path, **changes) -> dict:
    model = {"encoder": f"hf:{encoder}", "encoder_streams": ["states"], "width": 32, "heads": 2, "decoder_layers": 1}
    return {
        "data": {"domain": "chain", "file": str(file), "train": [0, 79], "validate": [80, 99]},
        "streams": {"states": {"states": True}},
        "task": {"kind": "masked", "slabs": 16},
        "model": model,
        "training": {"steps": 2, "batch_size": 4, "validation_samples": 4, "workers": 0},
    } | changes


@pytest.fixture(scope="module")
def states_file(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("chain") / "chain.npz"
    chain.write(file, samples=100)
    return file


@pytest.fixture(scope="module")
def run(encoders, states_file, tmp_path_factory) -> Path:
    """A run from an encoder that is gone when the run has ended."""
    directory = tmp_path_factory.mktemp("run")
    copy = shutil.copytree(encoders["bert"], directory / "bert")
    statecast.pretrain(read_recipe(recipe(states_file, copy)), directory / "run", progress=False)
    shutil.rmtree(copy)
    return directory / "run"


def test_a_run_goes_on_without_the_origin_of_its_encoder(run, states_file, encoders, tmp_path):
    trained = load(run)
    assert trained.recipe.model.encoder.endswith("/bert") and trained.model.options.encoder.endswith("model/encoder")
    tuned = statecast.finetune(
        {"task": {"kind": "denoise"}, "training": {"steps": 1, "batch_size": 4}, "adaptation": {"change": "heads"}},
        run,
        tmp_path / "tuned",
        progress=False,
    )
    before, after = (each.model.pretrained.model.state_dict() for each in (trained, tuned))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert len(load(tmp_path / "tuned").model.state_dict()) == len(tuned.model.state_dict())


def test_plain_transformers_loads_the_encoder_of_a_run(run, encoders):
    model, directory = load(run).model, run / "model" / "encoder"
    ids = torch.tensor([[0, 1, 4, 3]])
    with torch.no_grad():
        ours = model.pretrained.model(input_ids=ids).last_hidden_state
        assert torch.equal(plain(directory)(input_ids=ids).last_hidden_state, ours)
        assert not torch.equal(plain(encoders["bert"])(input_ids=ids).last_hidden_state, ours)  # it has learned
    assert transformers.AutoTokenizer.from_pretrained(directory).mask_token_id == 4
    assert not any(name.startswith("pretrained.model.") for name in load_file(run / "model" / "model.safetensors"))


def test_an_altered_encoder_is_noticed(run, tmp_path):
    directory = shutil.copytree(run / "model", tmp_path / "model")
    path = directory / "encoder" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"layer_norm_eps": 1e-3}))
    with pytest.raises(ModelError, match="have changed since"):
        load(directory)


def test_models_are_still_built_on_meta_once_weights_were_read(encoders):
    torch.utils._device._device_constructors.cache_clear()  # as in a new process
    encoder_files(f"hf:{encoders['bert']}").trained_model()
    with torch.device("meta"):
        assert torch.linspace(0, 1, 2).is_meta


def test_answers_are_explained_and_costs_told(run, states_file, encoders):
    found = explain(run, token="states:3", sample=0)
    assert "states_decoder_attention" in found and "states_encoder_attention" not in found
    assert float(found["states_rollout"].sum()) == pytest.approx(1)
    size = size_of(read_recipe(recipe(states_file, encoders["bert"])))
    assert size.parameters == sum(p.numel() for p in load(run).model.parameters())


# --- what is refused ----------------------------------------------------------------------------------------------------------------------


def rewritten(directory: Path, target: Path, **changes) -> Path:
    shutil.copytree(directory, target)
    config = json.loads((target / "config.json").read_text()) | changes
    (target / "config.json").write_text(json.dumps(config))
    return target


def test_pickles_are_refused(encoders, tmp_path):
    directory = shutil.copytree(encoders["bert"], tmp_path / "bert")
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")
    with pytest.raises(EncoderError, match=r"only pytorch_model\.bin, a pickle, which can run code"):
        of_chain(directory)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mine", "auto_map": {"AutoModel": "mine.Mine"}}, "comes with it .auto_map. is not run"),
        ({"model_type": "mine"}, "has no code for its kind 'mine'"),
        ({"is_encoder_decoder": True}, "an encoder and a decoder"),
        ({"num_hidden_layers": 3}, "weights lack"),
    ],
)
def test_other_configurations_are_refused(encoders, tmp_path, changes, message):
    with pytest.raises(EncoderError, match=message):
        of_chain(rewritten(encoders["bert"], tmp_path / "encoder", **changes))


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(EncoderError, match=r"config\.json is no file"):
        encoder_files(f"hf:{tmp_path}")
    with pytest.raises(EncoderError, match="is no directory"):
        encoder_files(f"hf:{tmp_path}/none")


def test_an_encoder_is_fetched_from_the_hub_without_pickles_and_code(encoders, monkeypatch):
    fetched = {}

    def snapshot(name, allow_patterns):
        fetched[name] = allow_patterns
        if name == "nobody/bert":
            raise ConnectionError
        return str(encoders["bert"])

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert encoder_files("hf:somebody/bert").mask == 4
    assert not any(pattern.endswith((".bin", ".py", ".pt", "*")) for pattern in fetched["somebody/bert"])
    with pytest.raises(EncoderError, match=r"could not be fetched from the Hub .ConnectionError"):
        encoder_files("hf:nobody/bert")


def test_a_stream_must_fit(encoders):
    with pytest.raises(EncoderError, match=r"no stream fits .states has 4 categories, the encoder 6"):
        StateModel(options(encoders["bert"]), {"states": chain.SPEC})
    with pytest.raises(EncoderError, match="stream grey has no such axis"):
        StateModel(options(encoders["bert"], encoder_streams=("grey",)), {"grey": GREY})
    with pytest.raises(EncoderError, match="has 2 channels, the encoder 1"):
        StateModel(options(encoders["vit"]), {"grey": replace(GREY, size=32, layout=(2, 1, 16))})
    with pytest.raises(EncoderError, match="there is no stream words"):
        StateModel(options(encoders["bert"], encoder_streams=("words",)), {"states": chain.SPEC})


def test_codes_must_mean_the_words_of_the_tokenizer(encoders):
    files = encoder_files(f"hf:{encoders['bert']}")
    files.require_categories("states", ("a", "b", "c", "d"))
    with pytest.raises(EncoderError, match="its code 1 is 'b', that of stream states is 'c'"):
        files.require_categories("states", ("a", "c", "b", "d"))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"encoder": "bert"}, "expected own or hf:PATH_OR_ID"),
        ({"encoder": "hf:"}, "expected own or hf:PATH_OR_ID"),
        ({"encoder_layers": 0}, "encoder_layers is 0, expected at least 1"),
        ({"encoder_streams": ["states"]}, "encoder_streams: is of encoder"),
    ],
)
def test_options_of_a_recipe(states_file, encoders, model, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(recipe(states_file, encoders["bert"], model=model))
