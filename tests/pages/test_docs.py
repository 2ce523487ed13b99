"""Every Python block of the documentation runs: the blocks of a page, in order, as one program."""

import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
PAGES = {
    page: [textwrap.dedent(code) for _, code in BLOCK.findall(page.read_text())]
    for page in sorted(DOCS.rglob("*.md"))
}


@pytest.mark.parametrize("page", [page for page in PAGES if PAGES[page]], ids=lambda page: page.stem)
def test_the_pages_code_runs(page, tmp_path, monkeypatch, as_users_run_it):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in PAGES[page]:
        exec(compile(block, str(page), "exec"), names)
    plt.close("all")


def test_all_pages_are_read():
    assert {"index", "start", "concepts", "coming-from"} < {page.stem for page in PAGES if PAGES[page]}
    assert sum(map(len, PAGES.values())) > 30
