"""Outputs: written aside and renamed, and nothing is lost."""

import pytest

from statecast.outputs import OutputError, new_output


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
