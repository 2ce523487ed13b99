"""The benchmarks run, at a size where their times mean nothing."""

import runpy
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def load(name, monkeypatch):
    """What a benchmark defines."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / name))


def run(name, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [name])
    return load(name, monkeypatch)["main"](list(arguments))


def test_solvers(monkeypatch, tmp_path):
    out = tmp_path / "figures.json"
    arguments = ["--steps", "20", "--neurons", "1", "3", "--solvers", "strang", "--repeats", "1"]
    figures = run("solvers.py", monkeypatch, *arguments, "--json", str(out))
    assert set(figures["rates"]) == {"ind_exp_euler", "strang"}
    assert all(rate > 0 for rates in figures["rates"].values() for rate in rates)
    assert figures["machine"]["dtype"] == "float32" and out.exists()


def test_all_of_them(monkeypatch, tmp_path):
    """Every part of run.py, in this process and without peers."""
    module = load("run.py", monkeypatch)
    main = module["main"]

    def own(script, *arguments, cores=1):
        arguments = [str(x) for x in arguments]
        if "--cores" in arguments:  # JAX has started here
            at = arguments.index("--cores")
            del arguments[at : at + 2]
        return runpy.run_path(str(BENCHMARKS / script))["main"](arguments)

    main.__globals__["own"] = own
    figures = main(["--quick", "--out", str(tmp_path), "--peers"])
    assert set(figures["absent"]) == {"Brian2", "NEURON", "Jaxley", "BrainCell", "Arbor"}
    assert figures["throughput"]["hh.sweep"] > 0 and {row["E"] for row in figures["networks"]} == {
        "dense",
        "sparse",
    }
    (row,) = figures["gradients"]
    assert row["gradient_s"] > 0 and row["gradient_bytes"] > row["forward_bytes"]
    assert (tmp_path / "results.json").exists() and (tmp_path / "results.png").stat().st_size > 10_000


def test_cobahh(monkeypatch):
    arguments = ["--t1", "20", "--neurons", "100", "--seeds", "1", "--solvers", "strang"]
    (row,) = run("cobahh.py", monkeypatch, *arguments)["rows"]
    assert row["hhjax strang"]["rate_hz"] > 0 and row["hhjax strang"]["seconds"] > 0


def test_noise(monkeypatch):
    arguments = ["--steps", "5", "--neurons", "3", "--kinds", "current", "subunit", "--repeats", "1"]
    figures = run("noise.py", monkeypatch, *arguments)
    assert set(figures["times"]) == {"none", "current", "subunit"}
    assert all(t > 0 for times in figures["times"].values() for t in times.values())


def test_gpu_without_one(monkeypatch, capsys):
    monkeypatch.setattr("jax.default_backend", lambda: "cpu")
    assert run("gpu.py", monkeypatch) is None
    assert capsys.readouterr().out == "There is no GPU here that JAX sees: nothing was measured.\n"


def test_firing(monkeypatch):
    """The table has 70 Hz for the exact chain, and the current alone gives 68."""
    arguments = ["--models", "subunit", "--cases", "600:10", "--seconds", "2.5"]
    rows = run("firing.py", monkeypatch, *arguments)["rows"]
    assert [row["dt"] for row in rows] == [0.02, 0.01]
    assert all(60 < row["rate_Hz"] < 80 and row["cv_isi"] > 0 for row in rows)
