"""Benchmarks of language models: scores beside published examples, files of questions, and likelihoods beside transformers' own."""

import json
import math
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from typer.testing import CliRunner

from statecast.cli.app import _app
from statecast.models.hugging_face import EncoderError
from statecast.streams import stack
from statecast.text.benchmarks.benchmark import benchmark
from statecast.text.benchmarks.language import HuggingFaceModel, LogLikelihood, OwnModel, log_likelihoods, windows
from statecast.text.benchmarks.metrics import of_choices, of_perplexity, of_texts
from statecast.text.benchmarks.questions import BenchmarkError, Choice, read_benchmark
from statecast.text.documents import TextError
from statecast.trained import load

WORDS = [
    "<end>",
    "?",
    "the",
    "sky",
    "is",
    "blue",
    "red",
    "A",
    "B",
    "C",
    "D",
    "Question:",
    "Answer:",
    "A.",
    "B.",
    "which",
    "colour",
]


def log_likelihood(model, context: str, text: str) -> LogLikelihood:
    return log_likelihoods(model, context, [text])[0]


def value(verification, metric: str) -> float:
    return float(verification.value(metric))


# --- scores -------------------------------------------------------------------------------------------------------------------------------


def test_bleu_of_the_example_of_sacrebleu():
    said = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    references = [
        ["The dog bit the man.", "The dog had bit the man."],
        ["It was not unexpected.", "No one was surprised."],
        ["The man bit him first.", "The man had bitten the dog."],
    ]
    found = of_texts("model", said, references)
    assert value(found, "bleu") == pytest.approx(48.53, abs=0.005)  # its README
    assert value(found, "accuracy") == pytest.approx(1 / 3)
    low, high = found.interval("bleu")
    assert low < 48.53 < high


def test_counts_of_bleu_are_clipped_as_in_the_example_of_papineni():
    found = of_texts("model", ["the the the the the the the"], [["the cat is on the mat", "there is a cat on the mat"]])
    assert [float(found.statistics[f"bleu_{part}_0"][0]) for part in ("right", "all")] == [2, 7]


def test_rouge_of_the_example_of_lin():
    found = of_texts("model", ["police kill the gunman", "the gunman kill police"], [["police killed the gunman"]] * 2)
    assert found.statistics["rougeL"].tolist() == pytest.approx([1.0, 0.5])  # 3/4 of the first without stems
    assert found.statistics["rouge2"].tolist() == pytest.approx([1.0, 1 / 3])


def test_meteor_of_the_example_of_banerjee_and_lavie():
    found = of_texts("model", ["the president spoke to the audience"], [["the president then spoke to the audience"]])
    mean, penalty = 10 * (6 / 7) / (6 / 7 + 9), 0.5 * (2 / 6) ** 3  # two chunks of six matches
    assert value(found, "meteor") == pytest.approx(mean * (1 - penalty))


def test_words_in_common_are_counted_as_in_squad():
    found = of_texts("model", ["The cat sat.", "a dog"], [["cat sat down"], ["the cat", "dog!"]])
    assert found.statistics["f1"].tolist() == pytest.approx([0.8, 1.0])
    assert found.statistics["accuracy"].tolist() == [0.0, 1.0]


def test_accuracy_and_f1_of_choices_are_those_of_scikit_learn():
    from sklearn.metrics import accuracy_score, f1_score

    random = np.random.default_rng(0)
    right, likelihoods = random.integers(4, size=60), random.normal(size=(60, 4))
    found = of_choices("model", right.tolist(), likelihoods.tolist())
    chosen = likelihoods.argmax(axis=1)
    assert value(found, "accuracy") == pytest.approx(accuracy_score(right, chosen))
    assert value(found, "f1_macro") == pytest.approx(f1_score(right, chosen, average="macro"))
    p = np.exp(likelihoods) / np.exp(likelihoods).sum(axis=1, keepdims=True)
    assert value(found, "log_score") == pytest.approx(-np.log(p[np.arange(60), right]).mean())


def test_perplexity_of_equally_probable_tokens_is_their_number():
    found = of_perplexity("model", [2 * math.log(8), 3 * math.log(8)], [2, 3], ["ab cd", "ef"])
    assert value(found, "perplexity") == pytest.approx(8)
    assert value(found, "word_perplexity") == pytest.approx(8 ** (5 / 3))
    assert value(found, "bits_per_byte") == pytest.approx(15 / 7)


# --- files --------------------------------------------------------------------------------------------------------------------------------


def test_questions_of_every_kind_of_file(tmp_path):
    expected = Choice("which colour?", ("red", "blue", "C", "D"), 1, "sky colours")
    files = {
        "sky_colours_test.csv": "which colour?,red,blue,C,D,B\n",
        "header.csv": "question,A,B,C,D,answer,subject\nwhich colour?,red,blue,C,D,B,sky colours\n",
        "list.jsonl": json.dumps(
            {"question": "which colour?", "choices": ["red", "blue", "C", "D"], "answer": 1, "subject": "sky colours"}
        ),
        "task.yaml": "dataset_name: sky_colours\nfewshot_config:\n  samples:\n  - question: 'which colour?\n\n      (A) red (B) blue (C) C (D) D'\n"
        "    target: Let's think. The answer is (B).\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        assert list(read_benchmark(tmp_path / name).choices) == [expected], name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"question": "a", "choices": ["b", "c"], "answer": "C"}',
            "row 1 has the answer 'C', expected a letter A to B",
        ),
        ('{"question": "a", "choices": "b", "answer": "A"}', "row 1 has no choices"),
        ('{"prompt": "a", "reference": ""}', "row 1 has no reference"),
        ('{"reference": "a"}', "neither a prompt nor a prediction"),
        ('{"text": " "}', "row 1 holds no text"),
        ('{"title": "a"}', "has the columns title, expected question"),
        ("", "is empty"),
    ],
)
def test_what_is_no_benchmark_is_refused(tmp_path, text, message):
    (tmp_path / "file.jsonl").write_text(text)
    with pytest.raises(BenchmarkError, match=message):
        read_benchmark(tmp_path / "file.jsonl")


def test_a_file_that_is_not_there_and_a_task_of_lm_eval_without_examples(tmp_path):
    with pytest.raises(TextError, match="there is no such file"):
        read_benchmark(tmp_path / "none.jsonl")
    (tmp_path / "task.yaml").write_text("dataset_name: a\n")
    with pytest.raises(BenchmarkError, match="no task of lm-eval"):
        read_benchmark(tmp_path / "task.yaml")


# --- models -------------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    """A tiny causal model of words, that has learned nothing."""
    directory = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    sizes = {"vocab_size": len(WORDS), "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
    config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, initializer_range=1.0)
    transformers.GPT2LMHeadModel(config).save_pretrained(directory)
    words = Tokenizer(WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=words, bos_token="<end>", eos_token="<end>", unk_token="?", model_max_length=16
    ).save_pretrained(directory)
    return directory


def test_likelihood_is_that_of_transformers(gpt2):
    model = HuggingFaceModel(f"hf:{gpt2}")
    ids = torch.tensor([[0, 2, 3, 4, 5]])
    with torch.no_grad():
        loss = model.model(input_ids=ids, labels=ids).loss
    whole = log_likelihood(model, "", "the sky is blue")
    assert whole.tokens == 4 and whole.nats == pytest.approx(-4 * float(loss), rel=1e-5)
    parts = [log_likelihood(model, "", "the sky"), log_likelihood(model, "the sky", " is blue")]
    assert sum(part.nats for part in parts) == pytest.approx(whole.nats, rel=1e-5)


@pytest.mark.parametrize(
    ("length", "start", "longest"), [(5, 1, 16), (40, 0, 16), (40, 15, 16), (17, 3, 16), (9, 8, 2)]
)
def test_each_token_of_a_long_text_is_scored_once(length, start, longest):
    spans = list(windows(length, start, longest))
    assert [n for span in spans for n in range(span.begin, span.end)] == list(range(start, length))
    assert all(span.end - span.first <= longest for span in spans)
    assert all(span.begin - span.first >= min(longest // 2, span.begin) for span in spans)


def test_a_long_text_has_a_perplexity(gpt2, tmp_path):
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "the sky is blue " * 10}) + "\n")
    found = benchmark(tmp_path / "texts.jsonl", f"hf:{gpt2}")
    assert found.answers[0]["tokens"] == 40 and value(found.verifications[0], "perplexity") > 1


def test_the_command_asks_questions_with_examples_before_them(gpt2, tmp_path):
    rows = ["question,A,B,answer", "which colour,red,blue,B", "the sky,blue,red,A"]
    (tmp_path / "questions.csv").write_text("\n".join(rows))
    command = [
        "benchmark",
        str(tmp_path / "questions.csv"),
        "--model",
        f"hf:{gpt2}",
        "--out",
        str(tmp_path / "out"),
        "--by",
        "text",
    ]
    done = CliRunner().invoke(
        _app(), [*command, "--examples", str(tmp_path / "questions.csv"), "--shots", "1", "--quiet"]
    )
    assert done.exit_code == 0, done.output
    answers = [json.loads(line) for line in (tmp_path / "out" / "answers.jsonl").read_text().splitlines()]
    scores = {(s["forecast"], s["metric"]): s for s in json.loads((tmp_path / "out" / "scores.json").read_text())}
    share = np.mean([answer["answer"] == answer["chosen"] for answer in answers])
    assert scores["model", "accuracy"]["value"] == share and scores["chance", "accuracy"]["value"] == 0.5
    context = "Question: the sky\nAnswer: blue\n\nQuestion: which colour\nAnswer:"
    expected = log_likelihood(HuggingFaceModel(f"hf:{gpt2}"), context, " red").nats / len(" red")
    assert answers[0]["log_likelihoods"][0] == pytest.approx(expected)


def test_continuations_are_greedy(gpt2, tmp_path):
    (tmp_path / "prompts.jsonl").write_text(json.dumps({"prompt": "the sky", "reference": ["is blue"]}))
    found = benchmark(tmp_path / "prompts.jsonl", f"hf:{gpt2}", tokens=3)
    model = HuggingFaceModel(f"hf:{gpt2}")
    codes = model.codes("the sky")
    for _ in range(3):
        with torch.no_grad():
            codes.append(int(model.model(input_ids=torch.tensor([codes])).logits[0, -1].argmax()))
    assert found.answers[0]["prediction"] == model.tokenizer.decode(codes[3:], skip_special_tokens=True).strip()


def test_models_that_cannot_be_asked(gpt2, tmp_path):
    (tmp_path / "texts.jsonl").write_text(json.dumps({"text": "the sky"}))
    with pytest.raises(BenchmarkError, match="asks a model, and none is given"):
        benchmark(tmp_path / "texts.jsonl")
    with pytest.raises(EncoderError, match="is no directory"):
        benchmark(tmp_path / "texts.jsonl", f"hf:{tmp_path}/none")
    with pytest.raises(BenchmarkError, match="there are no examples"):
        benchmark(tmp_path / "texts.jsonl", f"hf:{gpt2}", shots=2)


def test_likelihood_of_our_own_model_is_that_of_its_answers(models):
    trained = load(models.following)
    own = OwnModel(trained)
    text = "the storm moves"
    codes = own.codes(text)
    source = trained.codecs["text"].tokens(torch.tensor(codes))
    window = stack([{"text": source, "label": trained.codecs["label"].tokens(None)}])
    with torch.no_grad():
        logits = trained.model(window, stack([{"text": source}]), causal=True)["text"].logits[0, : len(codes)]
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(codes), reduction="sum")
    found = log_likelihood(own, "", text)
    assert found.tokens == len(codes) and found.nats == pytest.approx(-float(expected), rel=1e-4)
    assert isinstance(own.continued("the storm", 3), str)


def test_our_own_model_must_predict_next_tokens(models):
    with pytest.raises(BenchmarkError, match="answers the task masked on text, expected next"):
        OwnModel(load(models.masked))


@pytest.mark.pypi
def test_development_questions_of_mmlu_as_lm_eval_ships_them(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", str(tmp_path), "lm-eval"], check=True
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = [name for name in wheel.namelist() if "/mmlu/flan_cot_fewshot/mmlu_" in name]
        wheel.extractall(tmp_path, names)
    found = [read_benchmark(tmp_path / name).choices for name in names]
    questions = [choice for of_subject in found for choice in of_subject]
    assert len(names) == 57 and len(questions) == 282
    assert sum(len(choice.choices) == 4 for choice in questions) == 281  # one has five
