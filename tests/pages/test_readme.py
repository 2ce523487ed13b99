"""Every Python block of the README runs, in order, as one program."""

import re
from pathlib import Path

import hhjax as hh

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_code_runs(tmp_path, monkeypatch, capsys, check_figure):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(blocks) == 4
    names = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    check_figure(tmp_path / "spikes.png")
    assert (abs(names["fit"].values - [120.0, 1.0]) < 4 * names["fit"].standard_errors).all()
    counts = names["sweep"].reduced
    assert counts.shape == (21, 2, 1) and (counts[0] == 0).all() and (counts[10, 0] == 7).all()


def test_the_readmes_commands():
    """They are what .ci/run and a user type."""
    ci = (README.parent / ".ci" / "run").read_text()
    assert ".venv/bin/pip install -q -e '.[test]'" in ci and ".venv/bin/pytest" in ci


def test_what_to_cite_is_this_version():
    assert f"\nversion: {hh.__version__}\n" in (README.parent / "CITATION.cff").read_text()
