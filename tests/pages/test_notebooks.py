"""Every notebook runs from top to bottom."""

import os
from pathlib import Path

import nbclient
import nbformat
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
# As a new process, but for what is imported and compiled.
ANEW = """%reset -f
__import__("jax").config.update("jax_enable_x64", False)
__import__("matplotlib.pyplot").pyplot.close("all")
__import__("matplotlib").rcdefaults()"""


@pytest.fixture(scope="module")
def kernel():
    """One for all notebooks: its start and the imports take longer than what is in some of them."""
    resources = {"metadata": {"path": NOTEBOOKS[0].parent}}
    client = nbclient.NotebookClient(nbformat.v4.new_notebook(), timeout=300, resources=resources)
    with client.setup_kernel(env=os.environ | {"MPLBACKEND": "agg"}):  # figures are made, but not rendered
        yield client


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebook_runs(path, kernel):
    notebook = nbformat.read(path, as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert sum(bool(cell.outputs) for cell in code) > len(code) / 2, "outputs are kept"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(ANEW))
    kernel.nb = notebook
    for index, cell in enumerate(notebook.cells):
        kernel.execute_cell(cell, index)


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 2
