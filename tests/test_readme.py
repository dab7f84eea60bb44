"""What the README promises in Python runs as it stands there, on a shorter budget."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    assert (
        "training.steps=400" in code
        and 'statecast.finetune("quickstart-forecast", pretrained, out="runs/forecast")' in code
    )
    few = '"training.steps=2", "training.validation_samples=2"'
    small = '"data.train=[2000-01-01, 2000-01-31]", "streams.atmosphere={variables: [z, t2m], levels: [500], patch: [2, 4, 4]}"'
    code = code.replace('"training.steps=400"', f"{few}, {small}")
    code = code.replace('out="runs/forecast")', f'out="runs/forecast", overrides=[{few}])')
    code = code.replace('("2001-01-01", "2001-02-28")', '("2001-01-01", "2001-01-04")')
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "runs" / "scores" / "report.html").is_file()
