"""Texts and codes: the round trip, tags at the first tokens of words, and long documents by the stated rule."""

import numpy as np
import pytest
from tiny_texts import MASKED, TEXT, sentences, write_csv

from statecast.config import read_recipe
from statecast.labels import LabelError
from statecast.streams import UNKNOWN
from statecast.text.codec import TextCodec
from statecast.text.documents import TextError
from statecast.text.source import ANSWERS, PairSource, TextSource, open_source
from statecast.text.streams import TextStream

LABEL = {"label": {"label": "kind"}}
CLASSES = {"kind": "translate", "to": ["label"]}


def opened(recipe: dict, split: str = "train", known: dict | None = None) -> TextSource | PairSource:
    source = open_source(read_recipe(recipe), split, known or {})
    assert source is not None
    return source


def test_any_text_has_codes_and_they_have_this_text():
    codec = TextCodec.fit(TextStream(vocabulary=300), ["some words"])
    for text in ("The  wave.\n\tTide", "naïve 東京 🌊", "a", " begins with a space", "x" * 50):
        (encoded,) = codec.encode([text])
        assert codec.decode([*encoded.codes, codec.end]) == text.removeprefix(" ")


def test_two_trainings_of_a_tokenizer_give_the_same_bytes(tmp_path):
    texts = [text for text, _ in sentences(50)]
    one, other = (TextCodec.fit(TextStream(vocabulary=320), texts).tokenizer.to_str() for _ in range(2))
    assert one == other


def test_a_given_tokenizer_keeps_its_codes(tmp_path):
    trained = TextCodec.fit(TextStream(vocabulary=320), ["the wave and the tide"])
    trained.save(tmp_path, "tokenizer")
    given = TextCodec.fit(TextStream(tokenizer=str(tmp_path / "tokenizer.json")), ["other words"])
    assert given.categories == trained.categories and given.encode(["the tide"]) == trained.encode(["the tide"])
    theirs = trained.tokenizer.to_str().replace('"<end>"', '"</s>"').replace('"<sep>"', '"[MASK]"')
    (tmp_path / "theirs.json").write_text(theirs)
    of_others = TextCodec.fit(TextStream(tokenizer=str(tmp_path / "theirs.json")), [])
    assert of_others.end == of_others.separator == trained.end and len(of_others.categories) == len(trained.categories)
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(TextError, match=r"bad.json: is no tokenizer.json of the library"):
        TextCodec.fit(TextStream(tokenizer=str(tmp_path / "bad.json")), [])


def test_a_long_document_is_cut_into_windows_that_together_hold_it(corpus, capsys):
    streams = {"text": TEXT["text"] | {"tokens": 8}}
    source = opened(corpus.recipe(MASKED) | {"streams": streams})
    codec, record = source.codecs["text"], source.record
    assert max(np.diff(record.offsets)) == 8 and len(record) > 60
    parts = [record.codes[record.span(n)].tolist() for n in np.flatnonzero(record.places == record.places[0])]
    whole = codec.decode([code for part in parts for code in part])
    assert whole in {text for text, _ in sentences(80)} and parts[-1][-1] == codec.end
    assert "60 of 60 documents have more than 8 tokens and are cut into windows" in capsys.readouterr().err


def test_a_long_document_with_a_label_is_truncated(corpus, capsys):
    streams = {"text": TEXT["text"] | {"tokens": 8}} | LABEL
    source = opened(corpus.recipe(CLASSES) | {"streams": streams})
    assert len(source.record) == 60 and set(np.diff(source.record.offsets)) == {8}
    assert "have more than 8 tokens and are truncated" in capsys.readouterr().err


def test_a_tag_stands_at_the_first_token_of_its_word(corpus):
    streams = TEXT | {"entities": {"tags": "tag"}}
    recipe = corpus.recipe({"kind": "translate", "to": ["entities"]}) | {"streams": streams}
    source = opened(recipe | {"data": recipe["data"] | {"files": corpus.conll}})
    window = source.window(0)
    codes, tags = window["text"].codes, window["entities"].codes
    assert len(codes) == len(tags) and (tags != UNKNOWN).sum() == 8 and tags[-1] == UNKNOWN
    names, pieces = source.codecs["entities"].categories, source.codecs["text"].categories
    text = [pieces[code] for code in codes.tolist()]
    for place, tag in enumerate(tags.tolist()):
        begins = text[place].removeprefix("Ġ") and (text[place][0] == "Ġ" or text[place - 1] == "Ġ")
        assert (tag != UNKNOWN) == bool(begins)
        if begins and names[tag] != "O":
            assert text[place].removeprefix("Ġ")[0] in "wtsrc"


@pytest.mark.parametrize("kind", ["next", "order"])
def test_half_of_the_pairs_belong_together(corpus, kind):
    recipe = corpus.recipe({"kind": "translate", "to": ["pair"]}, {"pair": {"pair": kind}})
    source = opened(recipe)
    codec, texts = source.codecs["text"], {text for text, _ in sentences(80)}
    random = np.random.default_rng(0)
    belong = 0
    for _ in range(200):
        window = source.draw(random)
        answer = ANSWERS[int(window["pair"].codes[0])]
        codes = window["text"].codes.tolist()
        middle = codes.index(codec.separator)
        first, second = codec.decode(codes[:middle]), codec.decode(codes[middle + 1 :])
        is_pair = f"{first} {second}" in texts
        belong += answer == "yes"
        assert is_pair or answer == "no"
        assert kind == "next" or answer == "yes" or f"{second} {first}" in texts
    assert 70 < belong < 130


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rows": [("a b", "sea")] * 9}, LabelError, "the training split has the single label sea"),
        ({"rows": [("a b", "")] * 9}, LabelError, "the training split has no label"),
        ({"rows": [(" ", "sea")] * 9}, TextError, "all documents of 0 to 5 are empty, expected some text"),
        ({"train": [0, 500]}, TextError, "has 9 documents, expected 0 to 500. Name a range that is there"),
        ({"label": "mood"}, TextError, "has no column mood. Columns: kind. Name one of them in the recipe"),
    ],
)
def test_bad_data_are_refused_in_one_line(corpus, tmp_path, change, error, message):
    file = write_csv(tmp_path / "t.csv", change.get("rows", sentences(9)))
    recipe = corpus.recipe(CLASSES, {"label": {"label": change.get("label", "kind")}})
    data = {"domain": "text", "files": file, "train": change.get("train", [0, 5]), "validate": None}
    with pytest.raises(error, match=message):
        opened(recipe | {"data": data})


def test_a_class_that_training_did_not_see_is_refused_when_the_files_are_opened(corpus, tmp_path):
    file = write_csv(tmp_path / "t.csv", [*sentences(9), ("a b", "fire")])
    recipe = corpus.recipe(CLASSES, LABEL)
    codecs = opened(recipe).codecs
    data = recipe["data"] | {"validate_files": file, "validate": "all"}
    with pytest.raises(LabelError, match="label fire: the model learned the classes sea, sky"):
        opened(recipe | {"data": data}, "validate", codecs)


def test_empty_documents_are_left_out_and_counted(corpus, tmp_path, capsys):
    rows = [*sentences(8), ("", "sea")]
    data = {"domain": "text", "files": write_csv(tmp_path / "t.csv", rows), "train": [0, 8], "shuffle": False}
    source = opened(corpus.recipe(MASKED) | {"data": data})
    assert len(source.record) == 8 and "1 empty documents are left out" in capsys.readouterr().err


def test_documents_of_one_sentence_have_no_pairs(corpus, tmp_path):
    data = {"domain": "text", "files": write_csv(tmp_path / "t.csv", [("one two", "sea")] * 5), "train": [0, 4]}
    recipe = corpus.recipe({"kind": "translate", "to": ["pair"]}, {"pair": {"pair": "next"}})
    with pytest.raises(TextError, match="has no two documents with several sentences each"):
        opened(recipe | {"data": data})
