"""Files: what was saved comes back identical, readable without the library, and harmless."""

import json
import os
import sys
import zipfile

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._run.axes import unit_of

S = hh.synapses
RUN = dict(t1=1.0, dt=0.05)
SLOW = "tests.io.test_files:Slow"


class Slow(hh.Channel):
    """A channel of a user's own."""

    gates = {"p": 1}
    tau: jax.Array = hh.param(20.0, unit="ms", positive=True)
    label: str = eqx.field(default="slow", static=True)

    def rates(self, V):
        return {"p": hh.InfTau(jax.nn.sigmoid((V + 35) / 10), self.tau + 0 * V)}


def twice(t, y, args):
    return 2 * y.V


def assert_identical(a, b):
    """Structure, types, dtypes and bits, static fields included."""
    leaves, structure = jax.tree.flatten(a)
    others, other_structure = jax.tree.flatten(b)
    assert structure == other_structure
    for x, y in zip(leaves, others):
        assert type(x) is type(y)
        if not eqx.is_array_like(x):
            assert x is y or x == y
            continue
        if isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            assert jax.random.key_impl(x) == jax.random.key_impl(y)
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        x, y = np.asarray(x), np.asarray(y)
        assert x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()


def there_and_back(path, thing, allow=(), **notes):
    hh.save(path, thing, **notes)
    got = hh.load(path, allow=allow)
    assert_identical(thing, got)
    return got


def networks():
    spiking = {
        "gaba": S.DoubleExponentialSynapse(hh.connect.ring(5, weight=0.1), 0.5, 10.0, reversal=-80.0),
        "in": S.AlphaSynapse(
            hh.connect.one_to_one(2, 0.02), input=S.Poisson(2, 200.0, jax.random.key(3)), post="i", delay=1.5
        ),
    }
    channels = {**hh.squid_axon().channels, "slow": Slow(g=jnp.linspace(0.0, 1.0, 3), E=-90.0)}
    return {
        "populations": hh.Network(
            {"e": hh.thalamic_relay(), "i": hh.wang_buzsaki()}, n={"e": 3, "i": 2}, coupling=spiking
        ),
        "own": hh.Network(hh.Neuron(channels), n=3, noise=hh.OUCurrent(1.0, 5.0)),
        "noisy": hh.with_channel_noise(
            hh.squid_axon(), model="conductance", density={"na": 60, "k": 18}, area=9.0
        ),
    }


@pytest.mark.parametrize("name", networks())
def test_networks_come_back(tmp_path, name):
    network = networks()[name]
    got = there_and_back(tmp_path / "x.npz", network, allow=[Slow])
    assert type(got) is type(network)
    y0 = hh.Network(got).init() if isinstance(got, hh.Neuron) else got.init()
    assert np.isfinite(y0.V).all()


@pytest.fixture(scope="module")
def run():
    saveat = diffrax.SaveAt(t0=True, steps=True)
    reduce = {"mean": hh.Mean(), "extrema": hh.Extrema(), "count": hh.SpikeCount()}
    return hh.simulate(hh.squid_axon(), stimulus=10.0, saveat=saveat, reduce=reduce, **RUN)


def test_a_run_comes_back_and_goes_on(tmp_path, run):
    got = there_and_back(tmp_path / "run.npz", run, network=hh.squid_axon(), stimulus=hh.Step(10.0) + 1.0)
    assert isinstance(got, hh.Solution) and got.progress.solver == "Strang" and got.progress.dt == 0.05
    assert isinstance(got.reduced["extrema"], hh.Extremes)
    notes = hh.load_notes(tmp_path / "run.npz")
    assert_identical((notes["network"], notes["stimulus"]), (hh.squid_axon(), hh.Step(10.0) + 1.0))
    assert notes["versions"]["hhjax"] == hh.__version__ and notes["versions"]["jax"] == jax.__version__
    again = dict(stimulus=10.0, saveat=diffrax.SaveAt(t0=True, steps=True), t1=2.0, dt=0.05)
    on = [hh.simulate(hh.squid_axon(), y0=first, **again) for first in (run, got)]
    assert_identical(*on)


def test_a_person_can_open_it(tmp_path, run):
    hh.save(tmp_path / "run.npz", run, network=hh.squid_axon(), remark="Kontrolle, 6 °C")
    with np.load(tmp_path / "run.npz") as file:
        np.testing.assert_array_equal(file["ys.V"], run.V)
        np.testing.assert_array_equal(file["ys.gates.na.m"], run.ys.gates["na"]["m"])
        header = json.loads(file["header.json"])
    assert header["notes"]["remark"] == "Kontrolle, 6 °C"
    neuron = header["notes"]["network"]["fields"]
    assert neuron["channels"]["dict"]["na"]["class"] == "hhjax:Sodium"
    assert neuron["channels"]["dict"]["na"]["fields"]["g"] == {"array_of": 120.0, "dtype": "float64"}
    assert header["thing"]["fields"]["progress"]["fields"]["dt"] == 0.05


def test_fits_and_sweeps_come_back(tmp_path):
    ts = np.arange(0.0, 5.0, 0.5)
    model = (hh.Neuron({"leak": hh.Leak(E=-60.0)}), hh.Electrode(area=1000.0))
    data = hh.Recording(ts, np.zeros((2, ts.size)), np.full((2, ts.size), -60.0), "pA")
    options = dict(steps=0, guide=None, progress_meter=diffrax.NoProgressMeter())
    fit = hh.fit(model, data, where=lambda neuron, electrode: neuron.C, **options)
    hh.save(tmp_path / "fit.npz", fit)
    got = hh.load(tmp_path / "fit.npz")
    assert type(got) is hh.Fit and str(got) == str(fit)
    parts = lambda fit: vars(fit) | {"uncertainty": vars(fit.uncertainty), "starts": vars(fit.starts)}
    assert_identical(parts(got), parts(fit))
    assert got.derive(lambda n, e: 2 * n.C) == fit.derive(lambda n, e: 2 * n.C)
    assert (got.dt, got.solver) == (0.025, "Strang")

    over = {"stimulus": [0.0, 5.0, 10.0], ("na.g", "k.g"): ([120.0, 100.0], [36.0, 30.0])}
    sweep = hh.sweep(hh.squid_axon(), over=over, solver=diffrax.Euler(), **RUN)
    got = there_and_back(tmp_path / "sweep.npz", sweep)
    assert list(got.axes) == ["stimulus", "na.g, k.g"] and isinstance(got.axes["na.g, k.g"], list)
    assert (got.solver, got.t1, got.dt) == ("Euler", 1.0, 0.05)
    assert_identical(got.network, hh.Network(hh.squid_axon()))


def test_leaves_of_every_kind(tmp_path):
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    thing = {
        "keys": [jax.random.key(1), hh.fast_key(2), jax.random.split(jax.random.key(3, impl="rbg"), 2)],
        "dtypes": [jnp.ones(2, d) for d in ("bfloat16", "float16", "int8", "uint32", "bool", "complex64")],
        "scalars": (np.float32(0.1), np.int64(3), jnp.float32(np.inf), jnp.array(np.nan), jnp.array(-0.0)),
        "python": [True, None, 3, 1e-300, float("inf"), -0.0, 1 + 2j, "µA/cm²", (), {}, []],
        "a": np.zeros((0, 3)), "A": np.ones(1), "a b": np.arange(2), "a_b": frozen,
        "state": hh.State(jnp.zeros(2), {}),
        "strings": [np.str_(""), np.str_("µ"), np.array(["", "ab"]), np.array([b"a"]), np.array([True])],
        "times": [np.datetime64("2020-01-01"), np.timedelta64(3, "s"), np.array(["NaT"], "M8[ms]")],
        "orders": [np.arange(3.0, dtype=">f8"), np.array(2, ">i4"), np.array([[1, 2]], order="F")],
        "functions": [hh.Mean(twice), jax.nn.relu, hh.losses.Trace(start=5.0)],
    }  # fmt: skip
    hh.save(tmp_path / "x.npz", thing)
    got = hh.load(tmp_path / "x.npz", allow=[twice, jax.nn.relu])
    assert_identical(thing, got)
    assert list(got) == list(thing) and got["python"][5].hex() == "-0x0.0p+0"
    assert got["a"].flags.writeable and not got["a_b"].flags.writeable
    with jax.enable_x64(False):
        assert_identical(hh.load(tmp_path / "x.npz", allow=[twice, jax.nn.relu]), thing)


def rewrite(path, old, new):
    """The file with another header."""
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    assert old.encode() in members["header.json"]
    members["header.json"] = members["header.json"].replace(old.encode(), new.encode())
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"label"', '"colour"', "`slow` has colour, which Slow does not have here"),
        ('"g": {', '"tau2": {', "`slow` has tau2"),
        ('"version": 1', '"version": 2', "install that or a newer one"),
        ('"format": "hhjax"', '"format": "other"', "must be a file of hh.save"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, old, new, message):
    hh.save(tmp_path / "x.npz", {"slow": Slow(g=1.0, E=-90.0)})
    rewrite(tmp_path / "x.npz", old, new)
    with pytest.raises(ValueError, match=message):
        hh.load(tmp_path / "x.npz", allow=[Slow])


def test_classes_that_moved_or_grew(tmp_path):
    slow = Slow(g=1.0, E=-90.0)
    hh.save(tmp_path / "x.npz", slow)
    rewrite(tmp_path / "x.npz", SLOW, "notebook:Slow")
    assert_identical(hh.load(tmp_path / "x.npz", allow=[Slow]), slow)
    rewrite(tmp_path / "x.npz", ',\n   "label": "slow"', "")
    assert_identical(hh.load(tmp_path / "x.npz", allow=[Slow]), slow)  # its default


def test_what_cannot_be_saved_is_named(tmp_path):
    class Local(hh.Channel):
        def rates(self, V):
            return {}

    path = tmp_path / "x.npz"
    hh.save(path, 1.0)
    for thing, message in [
        ({"a": [Local(g=1.0, E=0.0)]}, r"`a.0` cannot be saved: .*Local cannot be found again by its name"),
        (hh.Mean(lambda t, y, args: y.V), "`fn` cannot be saved"),
        ({"x": {1, 2}}, "`x` cannot be saved: it is of <class 'set'>"),
        ({1: 2}, "`thing` cannot be saved: it is of <class 'dict'>"),
        (np.array([{}]), "`thing` cannot be saved: it is an array of object"),
        (np.ma.array([1.0, 2.0], mask=[0, 1]), "MaskedArray.*x.filled"),
        (np.rec.array([1.0]), "recarray"),
        (np.void(b"ab"), "`thing` cannot be saved: it is an array of"),
    ]:
        with pytest.raises(TypeError, match=message):
            hh.save(path, thing)
    with pytest.raises(TypeError, match="inside jit"):
        jax.jit(lambda x: hh.save(path, x))(1.0)
    with pytest.raises(ValueError, match="`path` must end in .npz, got 'x.h5'"):
        hh.save(tmp_path / "x.h5", 1.0)
    with pytest.raises(ValueError, match="`notes` may not be named 'versions'"):
        hh.save(path, 1.0, versions=2)
    assert hh.load(path) == 1.0 and os.listdir(tmp_path) == ["x.npz"]  # the older file is whole


def test_other_files_are_refused(tmp_path):
    np.savez(tmp_path / "other.npz", x=1.0)
    (tmp_path / "text.npz").write_text("no file of ours")
    for name in ("other.npz", "text.npz"):
        with pytest.raises(ValueError, match=f"`path` must be a file of hh.save, which {name} is not"):
            hh.load(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="`path` does not exist"):
        hh.load(tmp_path / "none.npz")
    with pytest.raises(FileNotFoundError, match="`path` is in a folder that does not exist"):
        hh.save(tmp_path / "none" / "x.npz", 1.0)
    hh.save(tmp_path / "x.npz", np.arange(3.0))
    rewrite(tmp_path / "x.npz", '"numpy": "value"', '"numpy": "lost"')
    with pytest.raises(ValueError, match="x.npz is damaged: There is no item named 'lost.npy'"):
        hh.load(tmp_path / "x.npz")


def test_a_run_as_xarray(run):
    pytest.importorskip("xarray")
    data = run.to_xarray()
    assert data["V"].dims == ("time", "neuron") and data["V"].attrs == {"units": "mV"}
    assert data["na_m"].attrs == {"units": "1"} and data["time"].attrs == {"units": "ms"}
    np.testing.assert_array_equal(data["na_m"], run.ys.gates["na"]["m"])
    np.testing.assert_array_equal(data["time"], run.ts)
    np.testing.assert_array_equal(data["reduced_extrema_max"], run.reduced["extrema"].max)
    assert (data.attrs["solver"], data.attrs["dt"]) == ("Strang", 0.05)
    several = hh.State(
        jnp.zeros((21, 5)),
        {"e": {"ca": {"c": jnp.ones((21, 3))}}, "i": {"k": {"n": jnp.ones((21, 2))}}},
        {"gaba": {"g": jnp.zeros((21, 5)), "sent": jnp.zeros((21, 5, 7))}},
    )
    data = eqx.tree_at(lambda r: (r.ys, r.finite), run, (several, jnp.ones(5, bool))).to_xarray()
    assert data["e_ca_c"].dims == ("time", "e_ca_c_0") and data["e_ca_c"].attrs == {"units": "mM"}
    assert data["s_gaba_sent"].dims == ("time", "neuron", "s_gaba_sent_1")
    with pytest.raises(ValueError, match="`to_xarray` takes one run"):
        jax.tree.map(lambda x: x[None], run).to_xarray()


def test_a_sweep_as_xarray():
    pytest.importorskip("xarray")
    axes = {
        "stimulus": np.array([0.0, 5.0, 10.0]),
        "na.g, k.g": [np.array([100.0, 120.0]), np.array([30.0, 36.0])],
    }
    V = np.arange(24.0).reshape(3, 2, 4, 1)
    ys, ts = hh.State(jnp.asarray(V), {}), np.arange(4.0)
    counts = {"count": np.arange(6).reshape(3, 2, 1), "times": np.zeros((3, 2, 1, 9))}
    network = hh.Network(hh.squid_axon())
    sweep = hh.Sweep(axes, counts, ts, ys, np.ones((3, 2, 1), bool), None, network, "Strang", 0.0, 3.0, 0.1)
    data = sweep.to_xarray()
    assert data["V"].dims == ("stimulus", "na.g, k.g", "time", "neuron")
    assert data["times"].dims == ("stimulus", "na.g, k.g", "neuron", "times_1")
    assert data["k.g"].dims == ("na.g, k.g",) and data["k.g"].attrs == {"units": "mS/cm²"}
    assert data["stimulus"].attrs == {"units": "µA/cm²"}
    np.testing.assert_array_equal(data["V"].sel(stimulus=5.0).isel(neuron=0), V[1, ..., 0])
    np.testing.assert_array_equal(data["count"].sel(stimulus=10.0)[:, 0], [4, 5])


def test_without_xarray_it_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"pip install 'hhjax\[xarray\]'"):
        run.to_xarray()


@pytest.mark.parametrize(
    "name, unit",
    [
        ("v0", "mV"), ("stimulus", "µA/cm²"), ("stimulus.frequency", "Hz"), ("C", "µF/cm²"),
        ("na.g", "mS/cm²"), ("celsius", "°C"), ("coupling.weights", "mS/cm²"), ("coupling.reversal", "mV"),
        ("set", ""), ("a.b.c", ""),
    ],
)  # fmt: skip
def test_units_by_name(name, unit):
    network = hh.Network(hh.squid_axon(), n=2, coupling=hh.GradedSynapse(jnp.zeros((2, 2))))
    assert unit_of(network, name) == unit
    if name == "na.g":
        populations = hh.Network({"e": hh.squid_axon()}, n={"e": 2})
        assert unit_of(populations, "e.na.g") == unit
