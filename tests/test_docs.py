"""Every Python block of the documentation runs: the blocks of a page, in order, as one program."""

import re
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {
    page: re.findall(r"^```python\n(.*?)^```", page.read_text(), re.M | re.S) for page in DOCS.rglob("*.md")
}


@pytest.mark.parametrize("page", [p for p in sorted(PAGES) if PAGES[p]], ids=lambda p: p.stem)
def test_the_pages_code_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in PAGES[page]:
        exec(compile(block, str(page), "exec"), names)
    plt.close("all")
    assert jax.config.jax_enable_x64


def test_there_are_pages():
    assert {"index", "start", "concepts"} < {p.stem for p in PAGES}
    assert sum(map(len, PAGES.values())) > 30
