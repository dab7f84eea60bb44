"""Texts read by a Hugging Face encoder, with its tokenizer."""

from pathlib import Path

import pytest
import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

import statecast as sc
from statecast.costs import size_of
from statecast.text.codec import TextCodec
from statecast.text.documents import TextError
from statecast.text.streams import TextStream
from statecast.trained import load

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


@pytest.fixture(scope="module")
def bert(corpus, tmp_path_factory):
    """A tiny BERT, and a tokenizer of the words of the corpus."""
    text = Path(corpus.table).read_text(encoding="utf-8")
    words = sorted(set(text.replace(",", " ").split()))
    tokenizer = Tokenizer(WordLevel({word: n for n, word in enumerate([*SPECIAL.values(), *words])}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    directory = tmp_path_factory.mktemp("bert")
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(directory)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = transformers.BertConfig(vocab_size=tokenizer.get_vocab_size(), max_position_embeddings=64, **sizes)
    transformers.BertModel(config).save_pretrained(directory)
    return directory


def test_a_classifier_on_a_frozen_encoder_is_trained_costed_and_loaded(bert, corpus, tmp_path):
    recipe = corpus.recipe({"kind": "translate", "to": ["label"]}, {"label": {"label": "kind"}})
    recipe["streams"]["text"] = {"text": "text", "tokens": 24}
    recipe["model"] = {"encoder": f"hf:{bert}", "width": 16, "heads": 1, "decoder_layers": 1}
    recipe["adaptation"] = {"change": "heads"}
    read = sc.read_recipe(recipe)
    trained = sc.pretrain(read, tmp_path / "run", progress=False)
    loaded = load(tmp_path / "run")
    codec = loaded.codecs["text"]
    codes = codec.encode(["a storm"])[0].codes
    assert codec.categories[codes[0]] == "[CLS]" and codec.categories[codec.end] == "[SEP]"
    before = transformers.AutoModel.from_pretrained(bert).state_dict()
    after = loaded.model.pretrained.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if "pooler" not in name)
    assert size_of(read).parameters == trained.parameters


def test_an_encoder_without_a_tokenizer_file_is_refused(bert, tmp_path):
    (tmp_path / "config.json").write_bytes((bert / "config.json").read_bytes())
    with pytest.raises(TextError, match=r"has no tokenizer\.json"):
        TextCodec.fit(TextStream(), (), f"hf:{tmp_path}")
