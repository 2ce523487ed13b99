"""The benchmarks run, at a size where their times mean nothing."""

import json
import math
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(name, monkeypatch):
    """What a benchmark defines."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return runpy.run_path(str(BENCHMARKS / name))


def run(name, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [name])
    return load(name, monkeypatch)["main"](list(arguments))


@pytest.mark.parametrize("name", ["strang", "rk4", "strang4", "coupled"])
def test_plain(monkeypatch, name):
    """The plain reference does the same as hhjax."""
    plain, n = load("plain.py", monkeypatch), 3
    p, I, E = plain["PARAMETERS"], jnp.linspace(5.0, 20.0, n), jnp.full((n, n), 0.1)
    V, dt = jnp.full(n, -65.0, I.dtype), jnp.asarray(0.025, I.dtype)
    coupling = hh.GradedSynapse(E) if name == "coupled" else None
    y = plain["rest" if coupling is None else "rest_coupled"](V)
    step = plain["step" if name == "strang" else name]
    p = p if coupling is None else (p, E)
    got = plain["run"](p, I, dt, y, 400, step)[0]
    solver = "strang" if name == "coupled" else name
    network = hh.Network(hh.squid_axon(), n=n, coupling=coupling)
    run = hh.simulate(network, t1=10.0, dt=0.025, stimulus=I, solver=solver)
    assert float(run.V.max()) > 0
    np.testing.assert_allclose(got, run.V[-1], atol=1e-4)


def test_core(tmp_path):
    """Every part but those of run.py, in a process of its own, in which use_cores comes in time."""
    out = tmp_path / "figures.json"
    parts = "outputs jacobian memory channels networks solvers sweep overhead compile import".split()
    command = [sys.executable, BENCHMARKS / "core.py", "--quick", "--cores", "1", "--json", out]
    command += ["--parts", *parts]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    figures = json.loads(out.read_text())
    about = figures.pop("machine")
    assert about["dtype"] == "float32" and about["cores usable"] == about["hh.use_cores"] == "1"
    assert figures.pop("steps") == 20 and list(figures) == parts
    for part, rows in figures.items():
        assert rows and f"{part}, 20 steps" in printed
        numbers = [x for row in rows for x in row.values() if isinstance(x, float)]
        assert numbers and all(0 < x < math.inf for x in numbers)


def test_all_of_them(monkeypatch, tmp_path):
    """Every part of run.py, in this process; a peer tells of a spike that is 0.02 ms late."""
    main = load("run.py", monkeypatch)["main"]

    def launch(pythons, module, case):
        if pythons != ["python"] or module != "neuron":
            return []
        row = {"peer": "NEURON 9", "dt": 0.025, "seconds": 0.5}
        if case["folder"] is None:
            return [row]
        V = hh.simulate(hh.squid_axon(), t1=case["t1"], dt=0.025, stimulus=10.0, solver="rk4").V[:, 0]
        np.save(case["folder"] + "/V.npy", V)
        return [
            row | {"trace": case["folder"] + "/V.npy", "grid": 0.025 * (1 + 0.02 / 16.822)}
        ]  # of the second spike

    def own(script, *arguments):
        arguments = [str(x) for x in arguments]
        at = arguments.index("--cores") if "--cores" in arguments else len(arguments)  # JAX has started here
        del arguments[at : at + 2]
        of_it = runpy.run_path(str(BENCHMARKS / script))["main"]
        of_it.__globals__["launch"] = launch
        return of_it(arguments)

    main.__globals__.update(own=own, launch=launch)
    figures = main(["--quick", "--out", str(tmp_path), "--peers", "python"])
    assert figures["absent"] == ["Brian2", "Jaxley", "BrainCell", "Arbor"]
    assert [row["n"] for row in figures["rates"]] == [1, 64]
    for row in figures["rates"]:
        assert row["rates"]["hhjax, hh.sweep"] > 0
        assert row["rates"]["NEURON 9"] == pytest.approx(row["n"] * row["steps"] / 0.5e6)
    strang, tsit5, neuron = figures["precision"]["rows"]
    assert strang["error ms"] < 0.05 and tsit5["error ms"] < 1e-3
    assert neuron["error ms"] == pytest.approx(0.02, abs=1e-4)
    assert "| NEURON 9 | 0.02 | 500 | not reached |" in (tmp_path / "precision.txt").read_text()
    assert "| NEURON 9 | 4e-05 | 0.0026 |" in (tmp_path / "rates.txt").read_text()
    assert all((tmp_path / name).stat().st_size > 10_000 for name in ("rates.png", "precision.png"))


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


def test_gpu(monkeypatch, tmp_path, capsys):
    """All of it on a CPU, where one of the families agrees with itself."""
    monkeypatch.setattr(sys, "argv", ["gpu.py"])
    main, out = load("gpu.py", monkeypatch)["main"], tmp_path / "figures.json"
    families, name = main.__globals__["families"], "axons"
    main.__globals__["families"] = lambda n: {name: families(n)[name]}
    figures = main(["--quick", "--json", str(out)])
    assert figures == json.loads(out.read_text()) and "failed" not in capsys.readouterr().out
    assert [row["agrees"] for row in figures["agreement"]] == [True]
    first, *rates = figures["sweeps"]
    assert first["special functions a step"] > 10 and [row["k"] for row in rates] == [2]
    rates += figures["gradients"] + figures["coupled"] + figures["trees"] + figures["beside"]
    assert all(x > 0 for row in rates for x in row.values() if isinstance(x, float))


def test_firing(monkeypatch):
    """The table has 70 Hz for the exact chain, and the current alone gives 68."""
    arguments = ["--models", "subunit", "--cases", "600:10", "--seconds", "2.5"]
    rows = run("firing.py", monkeypatch, *arguments)["rows"]
    assert [row["dt"] for row in rows] == [0.02, 0.01]
    assert all(60 < row["rate_Hz"] < 80 and row["cv_isi"] > 0 for row in rows)


def test_cells(monkeypatch):
    rows = run("cells.py", monkeypatch, "--quick", "--cases", "tree")["tree"]
    assert [row["peer"] for row in rows] == ["hhjax, strang"]
    assert all(row["rate"] > 0 and row["gradient"] > 0 for row in rows)


def test_posteriors(monkeypatch):
    """With the normal posterior that standard errors stand for, in place of samples."""

    def sample(fit, key, samples, progress_meter):
        interval = np.stack(
            [fit.values - 1.645 * fit.standard_errors, fit.values + 1.645 * fit.standard_errors]
        )
        return SimpleNamespace(interval=lambda level: interval.T, r_hat=np.ones(3), diverged=np.zeros(3))

    monkeypatch.setattr(hh.Fit, "sample", sample)
    figures = run("posteriors.py", monkeypatch, "--sets", "8", "--quick")["coverage"]
    held = figures["90 % intervals that hold the truth"]
    assert held["posterior"] == held["standard errors"] and sum(held["posterior"]) / 3 > 0.6
    assert figures["worst R-hat"] == 1.0


def test_noisy(monkeypatch):
    """Noise of 1 mV/√ms is found; the rest is as in the committed output, over more draws."""
    figures = run("noisy.py", monkeypatch, "--quick", "--draws", "2")
    assert len(figures["nine cases"]) == 3
    assert {case["objective"] for case in figures["nine cases"]} == {"Prediction"}
    (found, _), (_, reading) = (x["noise found, mV/√ms and mV"] for x in figures["coverage"])
    assert found == pytest.approx(1.0, rel=0.1) and reading == pytest.approx(0.3, rel=0.1)
