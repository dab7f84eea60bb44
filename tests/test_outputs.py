"""Outputs: written aside and renamed, and nothing is lost."""

import pytest

from statecast.outputs import OutputError, new_output, training_output


def test_an_output_that_exists_is_kept_unless_told(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    with pytest.raises(OutputError, match="already exists"), new_output(tmp_path / "out"):
        raise AssertionError
    with pytest.raises(RuntimeError), new_output(tmp_path / "out", overwrite=True) as path:
        path.mkdir()
        raise RuntimeError
    assert (tmp_path / "out" / "precious").exists()
    with new_output(tmp_path / "out", overwrite=True) as path:
        path.write_text("new")
    assert (tmp_path / "out").read_text() == "new" and len(list(tmp_path.iterdir())) == 1


def test_what_was_trained_before_a_run_failed_is_kept(tmp_path):
    with pytest.raises(RuntimeError), new_output(tmp_path / "run") as path:
        path.mkdir()
        (path / "model.safetensors").write_text("weights")
        raise RuntimeError
    assert [p.name for p in tmp_path.iterdir()] == ["run.failed"]


def test_what_one_works_in_is_never_replaced(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for out in ("/", ".", "..", "", "../here", tmp_path, "/dev/null", "x" * 300, "/dev/null/x"):
        with pytest.raises(OutputError) as caught, new_output(out, overwrite=True):
            raise AssertionError
        assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


def test_a_refusal_leaves_no_directory(tmp_path):
    for output in (new_output, training_output):
        with pytest.raises(RuntimeError), output(tmp_path / "a" / "b" / "run"):
            raise RuntimeError
        assert not list(tmp_path.iterdir())


def test_an_interrupted_run_is_still_there_if_the_one_in_its_place_is_refused(tmp_path):
    checkpoint = tmp_path / "run.unfinished" / "checkpoints" / "step-00000002.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_text("weights")
    with pytest.raises(RuntimeError), training_output(tmp_path / "run", overwrite=True) as directory:
        assert not list(directory.iterdir())
        raise RuntimeError
    assert checkpoint.read_text() == "weights" and len(list(tmp_path.iterdir())) == 1
    with training_output(tmp_path / "run", overwrite=True) as directory:
        (directory / "new").touch()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["run", "run/new"]
