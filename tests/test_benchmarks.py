"""The benchmarks run, at a size where their times mean nothing."""

import runpy
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(name, monkeypatch, *arguments):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", [name])
    return runpy.run_path(str(BENCHMARKS / name))["main"](list(arguments))


def test_solvers(monkeypatch, tmp_path):
    out = tmp_path / "figures.json"
    arguments = ["--steps", "20", "--neurons", "1", "3", "--solvers", "strang", "--repeats", "1"]
    figures = run("solvers.py", monkeypatch, *arguments, "--json", str(out))
    assert set(figures["rates"]) == {"ind_exp_euler", "strang"}
    assert all(rate > 0 for rates in figures["rates"].values() for rate in rates)
    assert figures["machine"]["dtype"] == "float32" and out.exists()


def test_gradients(monkeypatch):
    arguments = ["--steps", "20", "--neurons", "2", "--solvers", "strang", "--repeats", "1"]
    (row,) = run("gradients.py", monkeypatch, *arguments)["rows"]
    assert row["gradient_s"] > 0 and row["gradient_bytes"] > row["forward_bytes"]


def test_cobahh(monkeypatch):
    arguments = ["--t1", "20", "--neurons", "100", "--seeds", "1", "--solvers", "strang"]
    (row,) = run("cobahh.py", monkeypatch, *arguments)["rows"]
    assert row["hhjax strang"]["rate_hz"] > 0 and row["hhjax strang"]["seconds"] > 0


def test_noise(monkeypatch):
    arguments = ["--steps", "5", "--neurons", "3", "--kinds", "current", "subunit", "--repeats", "1"]
    figures = run("noise.py", monkeypatch, *arguments)
    assert set(figures["times"]) == {"none", "current", "subunit"}
    assert all(t > 0 for times in figures["times"].values() for t in times.values())
