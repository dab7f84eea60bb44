"""Models of texts go through the commands: every question is trained, evaluated beside its baselines, and asked of other documents."""

import json

import pytest
from tiny_texts import sentences, write_csv

import statecast as sc
from statecast.config import RecipeError, read_recipe, shipped_recipes
from statecast.costs import size_of
from statecast.numbered import SeenError
from statecast.text.inference.generate import generate
from statecast.trained import ModelError

EXPECTED = {
    "masked": {"model", "marginal"},
    "classes": {"model", "frozen", "TF-IDF", "frequencies"},
    "tags": {"model", "most frequent"},
    "following": {"model", "bigrams", "unigrams"},
    "replaced": {"model", "rare tokens"},
}
METRICS = {
    "masked": {"log_score", "accuracy"},
    "classes": {"accuracy", "macro_f1", "log_score"},
    "tags": {"f1", "precision", "recall", "f1 SEA", "f1 SKY"},
    "following": {"perplexity", "log_score"},
    "replaced": {"f1", "precision", "recall"},
}


@pytest.mark.parametrize("name", list(EXPECTED))
def test_each_question_is_scored_beside_its_baselines(models, statecast, tmp_path, name):
    against = ("--against", models.masked) if name == "classes" else ()
    assert statecast("evaluate", getattr(models, name), *against, "--out", "out", "--quiet")[0] == 0
    records = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert {record["forecast"] for record in records} == EXPECTED[name]
    assert {record["metric"] for record in records} == METRICS[name]
    assert all(record["low"] <= record["value"] <= record["high"] for record in records if name != "masked")
    if name == "classes":
        page = (tmp_path / "out" / "report.html").read_text()
        assert "p(true)" in page and page.count("data:image/png") == 1


def test_documents_that_were_learned_from_are_refused(models, tmp_path):
    with pytest.raises(SeenError, match=r"numbers 50 to 70 of texts.csv: overlap 0 to 59, which the model has learned"):
        sc.evaluate(models.classes, period=("50", "70"), out=tmp_path / "out", progress=False)


def test_other_files_are_evaluated_whole(models, tmp_path):
    file = write_csv(tmp_path / "other.csv", sentences(12, seed=5))
    found = sc.evaluate(models.classes, file, out=tmp_path / "out", progress=False)
    assert {score.n for score in found.scores} == {12}


def test_texts_are_drawn_and_written(models, statecast, tmp_path):
    options = ("--texts", 3, "--label", "sea", "--prompt", "The", "--top-k", 5, "--out", "t.jsonl", "--quiet")
    assert statecast("generate", models.following, *options) == (0, "")
    rows = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [row["label"] for row in rows] == ["sea"] * 3 and all(row["text"].startswith("The") for row in rows)


def test_the_same_seed_draws_the_same_texts_and_a_temperature_of_0_one_text(models):
    trained = sc.load(models.following)
    one, other, third = (generate(trained, texts=4, seed=seed) for seed in (1, 1, 2))
    assert one == other != third
    assert len({row["text"] for row in generate(trained, texts=4, temperature=0.0)}) == 1


def test_a_model_that_does_not_draw_one_token_after_the_other_generates_nothing(models):
    with pytest.raises(ModelError, match="a model of the task masked generates no text, expected next"):
        generate(models.masked)


def test_a_loaded_model_has_the_tokenizer_that_it_was_trained_with(models):
    one, other = (sc.load(run).codecs["text"].categories for run in (models.masked, models.classes))
    assert one == other and len(one) == 280


def test_the_cost_of_a_recipe_counts_what_the_model_has(models):
    trained = sc.load(models.classes)
    assert size_of(trained.recipe).parameters == trained.parameters


def test_the_representation_of_a_text_does_not_see_its_label(models, tmp_path):
    features = sc.embed(models.classes)
    assert set(features.data_vars) == {"text"} and features["text"].shape == (20, 32)


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name.startswith("text")])
def test_a_recipe_that_ships_is_valid(name):
    base = (
        None
        if name in ("text", "text-denoise", "text-replaced", "text-next", "text-next-sentence", "text-order")
        else read_recipe("text")
    )
    assert read_recipe(name, inherit=base).text[0] == "text"


@pytest.mark.parametrize(
    ("streams", "message"),
    [
        ({"label": {"label": "kind"}}, "streams: 0 hold a text"),
        ({"text": {}, "other": {"vocabulary": 500}}, "streams: 2 hold a text"),
        ({"text": {}, "pair": {"pair": "next"}, "label": {"label": "kind"}}, "with the stream pair a sample is a pair"),
    ],
)
def test_streams_that_do_not_go_together_are_refused(corpus, streams, message):
    with pytest.raises(RecipeError, match=message):
        read_recipe(corpus.recipe({"kind": "masked"}) | {"streams": streams})


def test_proposals_of_a_model_with_another_vocabulary_are_refused(corpus, models, tmp_path):
    recipe = corpus.recipe({"kind": "detect", "proposals": str(models.masked)})
    recipe["streams"] = {"text": {"vocabulary": 270, "tokens": 24}}
    with pytest.raises(RecipeError, match=r"has 280 codes in stream text, expected 270. Name a model"):
        sc.pretrain(recipe, tmp_path / "run", progress=False)
    assert not list(tmp_path.iterdir())
