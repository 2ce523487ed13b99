"""Every Python block of the documentation runs: the blocks of a page, in order, as one program."""

import re
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import jax
import matplotlib.pyplot as plt
import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^( *)```python\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
PAGES = {
    page: [textwrap.dedent(code) for _, code in BLOCK.findall(page.read_text())]
    for page in sorted(DOCS.rglob("*.md"))
}


@pytest.mark.parametrize("page", [page for page in PAGES if PAGES[page]], ids=lambda page: page.stem)
def test_the_pages_code_runs(page, tmp_path, monkeypatch, as_users_run_it, check_figure):
    monkeypatch.chdir(tmp_path)
    program = ModuleType("page")
    monkeypatch.setitem(sys.modules, "page", program)  # where hh.save looks for classes
    home = page == DOCS / "index.md"
    with jax.enable_x64(not home):  # its picture shows random numbers of float32
        for block in PAGES[page]:
            exec(compile(block, str(page), "exec"), program.__dict__)
    plt.close("all")
    if home:
        check_figure(tmp_path / "network.png")


def test_all_pages_are_read():
    assert {"index", "start", "concepts", "coming-from"} < {page.stem for page in PAGES if PAGES[page]}
    assert sum(map(len, PAGES.values())) > 30
