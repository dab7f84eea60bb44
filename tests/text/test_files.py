"""Files of documents: every format gives the same ones, and what is wrong in a file is said in one line."""

import gzip
import json

import pandas as pd
import pytest

from statecast.describers import describe_data
from statecast.text.documents import TextError
from statecast.text.samples import SAMPLES
from statecast.text.sources.files import read_documents

ROWS = [{"text": "The wave, the tide.", "kind": "sea"}, {"text": "A cloud\nabove.", "kind": None}]


def written(folder, form: str) -> str:
    """The two documents in a format."""
    path = folder / f"texts.{form}"
    if form in ("csv", "tsv"):
        pd.DataFrame(ROWS).to_csv(path, sep="\t" if form == "tsv" else ",", index=False)
    elif form == "parquet":
        pd.DataFrame(ROWS).to_parquet(path)
    elif form == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        path = folder / "texts.jsonl.gz"
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    return str(path)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "jsonl.gz", "parquet"])
def test_a_table_of_any_format_has_the_same_documents(tmp_path, form):
    found = read_documents([written(tmp_path, form)])
    assert list(found.texts) == [row["text"] for row in ROWS]
    assert list(found.column("kind")) == ["sea", None]


def test_a_folder_has_a_document_a_file_and_the_label_of_its_subfolder(tmp_path):
    for name, text in (("sea/a.txt", "tide"), ("sky/b.txt", "rain"), ("c.txt", "none")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = read_documents([str(tmp_path)])
    assert dict(zip(found.texts, found.column("label"), strict=True)) == {"none": None, "tide": "sea", "rain": "sky"}


def test_a_conll_file_has_a_sentence_a_document_with_the_tags_of_its_words(corpus):
    found = read_documents([corpus.conll])
    assert len(found) == 80 and found.starts is not None
    words = found.texts[0].split(" ")
    assert [found.texts[0][start:].split(" ")[0] for start in found.starts[0]] == words
    tags = found.tags_of("tag")[0]
    assert len(tags) == len(words) and sum(tag != "O" for tag in tags) == 2
    assert set(found.tags_of("1")[0]) == {"NN"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text\ncaf\xe9\n", r"line 2 is not UTF-8 \(byte 8\). Convert the file, for example by iconv"),
        ("a.csv", b"words_of,kind\nx,y\n", "has no column text. Columns: words_of, kind. Name the one of the text"),
        ("a.csv", b"text,kind\na, b, c\n", r"row 2 has more values than the header has columns \(2\). Quote its text"),
        ("a.csv", b"text\n", "holds no document"),
        ("a.jsonl", b'{"text": 1}\n{"text"\n', "line 2 is not JSON"),
        ("a.jsonl", b"[1]\n", "line 1 holds list, expected an object with a text"),
        ("a.jsonl", b'{"words": ["a", "b"], "ner": ["O"]}', "has 2 words and 1 values in column ner, expected as many"),
        ("a.jsonl", b'{"text": "a", "ner": ["O"]}', "column ner holds lists, but there is no column words"),
        ("a.conll", b"one O\ntwo\n", "line 2 has 1 columns, expected a word and its tags"),
        ("a.xyz", b"", r"the ending .xyz is none of .csv"),
    ],
)
def test_what_is_wrong_in_a_file_is_said_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TextError, match=message) as error:
        read_documents([str(tmp_path / name)])
    assert "\n" not in str(error.value)


def test_the_samples_have_a_subject_a_paragraph_and_a_tag_a_word():
    documents, names = (read_documents([name]) for name in SAMPLES)
    assert len(documents) == 5973 == len(documents.column("subject"))
    assert len(names) == 5780 and {tag for of in names.tags_of("tags") for tag in of} == {"O", "B-NAME", "I-NAME"}


def test_a_file_that_is_not_there_is_refused():
    with pytest.raises(TextError, match=r"gone.csv: there is no such file or folder"):
        read_documents(["gone.csv"])


def test_a_description_counts_documents_words_values_and_tags(corpus):
    said = str(describe_data(corpus.table))
    assert "80, of which 0 are empty" in said and "8 to 8 in a document" in said and "sea" in said and "sky" in said
    tags = str(describe_data(corpus.conll))
    assert "O 480" in tags and "B-S" in tags
