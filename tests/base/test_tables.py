"""Tables of values with units: as text, as HTML, in bounded length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hhjax._base.tables import facts, Printed, span, Table, value


def test_a_table_is_aligned():
    table = Table(("name", "value", "unit"), [("g", "120", "mS/cm²"), ("tau", "5", "ms")], "T", ["N"], (0, 2))
    assert table.text().split("\n") == [
        "T",
        "name  value  unit",
        "g       120  mS/cm²",
        "tau       5  ms",
        "N",
    ]
    assert facts("T", {"a": "1", "empty": "", "long": "22"}).text() == "T\na     1\nlong  22"


def test_html_is_a_table_and_escaped():
    shown = Table(("<b>", "x"), [("<i>", "a & b")], "<t>", ["<n>"]).html()
    assert "<i>" not in shown and "<t>" not in shown and "<n>" not in shown and "<b>" not in shown
    assert shown.startswith("<div>&lt;t&gt;</div><table><thead><tr>") and shown.endswith(
        "<div>&lt;n&gt;</div>"
    )
    assert '<td style="text-align:left">&lt;i&gt;</td><td style="text-align:right">a &amp; b</td>' in shown


def test_long_tables_and_cells_are_cut():
    table = Table(("k", "x"), [(str(k), "y" * 1000) for k in range(500)])
    lines = table.text().split("\n")
    assert len(lines) == 62 and lines[-1] == "… and 440 more" and max(map(len, lines)) < 120
    assert len(table.html()) < 20_000 and "… and 440 more" in table.html()


@pytest.mark.parametrize(
    "x, wanted",
    [
        (120.0, "120"),
        (jnp.array(-54.387), "-54.387"),
        (np.float32(0.3), "0.3"),
        (jnp.linspace(90.0, 110.0, 80), "90 … 110 (80)"),
        (jnp.full(3, 36.0), "36 (3)"),
        (jnp.ones((3, 4)), "shape (3, 4)"),
        (jax.ShapeDtypeStruct((7,), float), "shape (7,)"),
        (jax.ShapeDtypeStruct((), float), "shape ()"),
    ],
)
def test_values(x, wanted):
    assert value(x) == wanted


def test_spans_leave_out_what_is_missing():
    assert span(np.array([[np.nan, -65.0], [30.0, np.nan]]), "mV") == "-65 … 30 mV"
    assert span(np.full(3, np.nan), "mV") == "none"


def test_one_class_prints_both_ways():
    class Thing(Printed):
        def _tables(self):
            return [Table(("a",), [("1",)]), Table(("empty",), []), Table(("b",), [("<2>",)])]

    assert str(Thing()) == "a\n1\n\nb\n<2>"
    assert Thing()._repr_html_().count("<table>") == 2 and "&lt;2&gt;" in Thing()._repr_html_()
