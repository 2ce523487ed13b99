"""Every Python block of the README runs, in order, as one program."""

import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 14
    names = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert (tmp_path / "spikes.png").stat().st_size > 10_000
    assert names["rates"].shape == (1000,)
    assert (abs(names["fit"].values - [120.0, 1.0]) < 4 * names["fit"].standard_errors).all()
    assert (names["saved"]["run"].V == names["run"].V).all()
    # The README's two commands are what .ci/run and a user type.
    ci = (README.parent / ".ci" / "run").read_text()
    assert ".venv/bin/pip install -q -e '.[test]'" in ci and ".venv/bin/pytest" in ci
