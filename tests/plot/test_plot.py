"""What the plots draw: the data of the artists, labels with units."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import hhjax as hh
from hhjax import plot

WHOLE = diffrax.SaveAt(t0=True, steps=True)


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def run():
    """20 ms of a squid axon in a step that begins between two grid points."""
    return hh.simulate(hh.squid_axon(), t1=20.0, dt=0.05, stimulus=STEP, saveat=WHOLE)


STEP = hh.Step(10.0, 4.99, 15.0)


def labels(ax):
    return ax.get_xlabel(), ax.get_ylabel()


def test_a_fit_is_drawn_over_its_data(leak_fit):
    fit = leak_fit
    lines = fit.plot(sweeps=[0, 2])
    assert len(lines) == 4
    for k, sweep in enumerate([0, 2]):
        np.testing.assert_array_equal(lines[2 * k].get_ydata(), fit.data[sweep, :, 0])
        np.testing.assert_array_equal(lines[2 * k + 1].get_ydata(), fit.V[sweep, :, 0])
    assert lines[-1].axes.get_xlabel() == "Time (ms)" and "mV" in lines[0].axes.get_ylabel()
    assert lines[0].axes.get_title(loc="left") == "sweep 0, RMSE 0.00 mV"


@pytest.fixture(scope="module")
def leak_fit():
    ts = np.arange(0.0, 5.0, 0.5)
    V = np.full((3, ts.size), -60.0) + np.arange(3)[:, None]
    neuron = hh.Neuron({"leak": hh.Leak(E=-60.0)})
    options = dict(steps=0, guide=None, progress_meter=diffrax.NoProgressMeter())
    where = lambda model: [model[0].C, model[0].channels["leak"].g, model[1].offset]
    data = (ts, np.zeros((3, ts.size)), V)
    return hh.fit((neuron, hh.Electrode()), data, where=lambda n, e: where((n, e)), **options)


def test_a_fit_report(leak_fit):
    fit = leak_fit
    moved = np.array([1.1, 0.24, 0.5])  # from 1, 0.3 and 0
    known = np.diag([0.01, 0.0004, 0.04])
    known[0, 1] = known[1, 0] = 0.001
    uncertainty = type(fit.uncertainty)(known, np.zeros((0, 3)), np.ones(3))
    fit = type(fit)(
        **{**vars(fit), "values": moved, "uncertainty": uncertainty, "history": np.array([4.0, 1.0])}
    )
    drawn = plot.fit_report(fit, sweeps=[1])
    assert set(drawn) == {"data", "loss", "estimates", "correlation"} and len(drawn["data"]) == 2
    np.testing.assert_array_equal(drawn["loss"][0].get_ydata(), [4.0, 1.0])
    points, _, (bars,) = drawn["estimates"]
    np.testing.assert_allclose(points.get_xdata(), [10.0, -20.0, np.nan], rtol=1e-12)
    np.testing.assert_allclose(bars.get_segments()[0][:, 0], [0.0, 20.0], atol=1e-9)  # 10 ± 10 %
    ticks = [tick.get_text() for tick in points.axes.get_yticklabels()]
    assert ticks == [
        "C\n1.1 ± 0.1 µF/cm²",
        "leak.g\n0.24 ± 0.02 mS/cm²",
        "electrode.offset\n0.5 ± 0.2 µA/cm²",
    ]
    np.testing.assert_allclose(
        drawn["correlation"].get_array(), [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]], atol=1e-12
    )
    assert drawn["correlation"].get_clim() == (-1.0, 1.0)
    assert labels(points.axes)[0] == "Change from the start (%)"
    with pytest.raises(ValueError, match="`axes` lacks correlation, estimates, loss"):
        plot.fit_report(fit, axes={"data": []})


def test_currents(run):
    found = run.currents()
    lines = plot.currents(run)
    assert [line.get_label() for line in lines] == ["k", "leak", "na", "stimulus"]
    np.testing.assert_array_equal(lines[2].get_xdata(), run.ts)
    np.testing.assert_array_equal(lines[2].get_ydata(), found["na"][:, 0])
    assert labels(lines[0].axes) == ("Time (ms)", "Current (µA/cm²)")
    (line,) = plot.currents(found, names=["leak"], color="k", ax=plt.figure().subplots())
    np.testing.assert_array_equal(line.get_ydata(), found["leak"][:, 0])
    assert line.get_color() == "k"
    with pytest.raises(ValueError, match="`names` has 'nap', which is no current. Did you mean 'na'[?]"):
        plot.currents(found, names=["nap"])
    with pytest.raises(ValueError, match="`population` must be None, for there is but one, got 'e'"):
        plot.currents(found, population="e")


def test_currents_of_a_neuron_in_a_population():
    x = np.arange(1.0, 51.0).reshape(10, 5)
    arrays = x[:, :2], x[:, 2:], np.where(np.arange(5) < 2, 0.0, x), -x
    names = "e.na", "i.na", "coupling.gap", "stimulus"
    found = hh.Currents(jnp.arange(10.0), names, arrays, (("e", 0, 2), ("i", 2, 5)))
    drawn = {line.get_label(): line.get_ydata() for line in plot.currents(found, population="i", neuron=1)}
    assert list(drawn) == ["na", "coupling.gap", "stimulus"]
    for y in (drawn["na"], drawn["coupling.gap"], -drawn["stimulus"]):
        np.testing.assert_array_equal(y, x[:, 3])
    # no gap junctions reach the other population
    lines = plot.currents(found, population="e", neuron=1)
    assert [line.get_label() for line in lines] == ["na", "stimulus"]
    np.testing.assert_array_equal(lines[0].get_ydata(), x[:, 1])
    with pytest.raises(ValueError, match="`population` must be one of 'e', 'i', got None"):
        plot.currents(found)


def test_a_response_has_its_current_below(run):
    V, current = plot.response(run, STEP)
    np.testing.assert_array_equal(V.get_ydata(), run.V[:, 0])
    ts, I = current.get_data()
    assert set(I) == {0.0, 10.0}
    on = ts[I == 10.0]
    assert 4.99 < on[0] < 4.9901 and 14.9999 < on[-1] < 15.0  # edges where they are, not at samples
    assert labels(current.axes) == ("Time (ms)", "Current\n(µA/cm²)")
    assert labels(V.axes) == ("", "Membrane potential (mV)") and V.axes is not current.axes


def test_responses_of_several_neurons_and_sweeps(run, as_users_run_it):
    ts = np.arange(4.0)
    recording = hh.Recording(ts, np.arange(12.0).reshape(3, 4), -np.arange(12.0).reshape(3, 4), "pA")
    lines = plot.response(recording, neurons=[0, 2])
    assert len(lines) == 4 and labels(lines[-1].axes)[1] == "Current\n(pA)"
    np.testing.assert_array_equal(lines[1].get_ydata(), recording.V[2])
    np.testing.assert_array_equal(lines[3].get_ydata(), recording.current[2])
    assert lines[1].get_color() == lines[3].get_color() != lines[0].get_color()
    assert lines[3].get_drawstyle() == "default"
    held = plot.response(hh.Recording(ts, recording.current, recording.V, held=True))
    assert [line.get_drawstyle() for line in held] == ["default"] * 3 + ["steps-post"] * 3
    two = eqx.tree_at(lambda s: s.ys.V, run, jnp.tile(run.V, (1, 2)))
    clamp = plot.response(two, hh.Clamp(-20.0, 0.5), axes=plt.subplots(2)[1])
    np.testing.assert_allclose(clamp[2].get_ydata(), 0.5 * (-20.0 - run.V[:, 0]), rtol=1e-12)
    for arguments, message in [
        ((run,), "`stimulus` is missing"),
        ((recording, 1.0), "a recording has its own current"),
        ((recording.as_neurons(),), "recording of one neuron"),
    ]:
        with pytest.raises(ValueError, match=message):
            plot.response(*arguments)


def test_gates(run):
    lines = plot.gates(run)
    assert [line.get_label() for line in lines] == ["k.n", "na.h", "na.m"]
    np.testing.assert_array_equal(lines[2].get_ydata(), run.ys.gates["na"]["m"][:, 0])
    assert labels(lines[0].axes) == ("Time (ms)", "Gate (no unit)")
    with pytest.raises(ValueError, match="`solution` holds no gates"):
        plot.gates(eqx.tree_at(lambda s: s.ys, run, hh.State(run.V, {})))
    with pytest.raises(ValueError, match="`population` must be None, for there is but one, got 'e'"):
        plot.gates(run, population="e")
    both = {"e": run.ys.gates, "i": {"k": {"n": run.V}}}
    nested = eqx.tree_at(lambda s: s.ys, run, hh.State(run.V, both))
    assert [line.get_label() for line in plot.gates(nested, population="i")] == ["k.n"]  # no mM among them
    with pytest.raises(ValueError, match="`population` must be one of 'e', 'i', got None"):
        plot.gates(nested)


def spikes_at(times, n, ts):
    """A solution whose neuron i crosses 0 mV half way through the step after each of its times."""
    V = np.full((ts.size, n), -1.0)
    for i, t in times:
        V[np.searchsorted(ts, t) + 1, i] = 1.0
    return hh.Solution(
        jnp.asarray(ts), hh.State(jnp.asarray(V), {}), hh.State(jnp.zeros(n), {}), jnp.ones(n, bool)
    )


def test_raster_and_population_rate():
    solution = spikes_at([(0, 1.0), (0, 9.0), (1, 2.0), (2, 21.0)], 3, np.arange(0.0, 25.5, 0.5))
    spikes, rate = plot.raster_and_rate(solution, bin=10.0)
    np.testing.assert_array_equal(spikes.get_ydata(), [0, 0, 1, 2])
    np.testing.assert_allclose(spikes.get_xdata(), [1.25, 9.25, 2.25, 21.25], atol=0.25)
    np.testing.assert_allclose(rate.get_xdata(), [0, 10, 20, 25])
    # 3 spikes of 3 neurons in 10 ms, none, 1 in the last 5 ms.
    np.testing.assert_allclose(rate.get_ydata(), [100.0, 0.0, 200 / 3, 200 / 3])
    assert labels(rate.axes) == ("Time (ms)", "Rate (Hz)")
    # A spike on the edge of a bin belongs to the bin before, one on the last grid point to the last.
    ts = jnp.arange(0.0, 20.125, 0.25)
    V = jnp.where((ts == 10.0) | (ts == 20.0), 0.0, -65.0)[:, None]
    at_edges = hh.Solution(ts, hh.State(V, {}), hh.State(V[-1], {}), jnp.ones(1, bool))
    np.testing.assert_array_equal(plot.raster_and_rate(at_edges, bin=10.0)[1].get_ydata(), [100.0] * 3)
    split = {"e": slice(0, 2), "i": slice(2, 3)}
    lines = plot.raster_and_rate(solution, bin=25.0, populations=split)
    assert [line.get_label() for line in lines[:2]] == ["e", "i"]
    np.testing.assert_array_equal(lines[1].get_ydata(), [2])
    np.testing.assert_allclose([line.get_ydata()[0] for line in lines[2:]], [60.0, 40.0])
    assert lines[0].get_color() == lines[2].get_color() != lines[3].get_color()
    with pytest.raises(ValueError, match="`bin` must be a positive finite number in ms of at most 25"):
        plot.raster_and_rate(solution, bin=30.0)


def test_nullclines_are_where_nothing_moves(run):
    I, neuron = 10.0, hh.squid_axon()
    V_line, n_line, path = plot.phase_plane(neuron, "k.n", stimulus=I, trajectory=run)
    V, n = V_line.get_data()

    @jax.jit
    def ionic(V, n):
        gates = neuron.steady_state(V).gates
        gates = gates | {"k": {"n": n}}
        return sum(channel.current(V, gates[name]) for name, channel in neuron.channels.items())

    current = ionic(jnp.asarray(V), jnp.asarray(n))
    # Of currents of up to some hundred µA/cm² that cancel.
    assert np.abs(current - I).max() < 0.2 and V.size > 300
    V, n = n_line.get_data()
    a = 0.01 * (V + 55) / -np.expm1(-(V + 55) / 10)  # table 3 of the paper
    np.testing.assert_allclose(n, a / (a + 0.125 * np.exp(-(V + 65) / 80)), atol=1e-4)
    np.testing.assert_array_equal(path.get_ydata(), run.ys.gates["k"]["n"][:, 0])
    assert labels(path.axes) == ("Membrane potential (mV)", "Gate k.n (no unit)")
    # With h frozen at 0 nothing drives an upstroke: leak and potassium alone, rising V, falling n.
    frozen = hh.Network(neuron).init(60.0)
    V, n = plot.phase_plane(neuron, "k.n", stimulus=I, frozen=frozen, arrows=False)[0].get_data()
    h = float(frozen.gates["na"]["h"][0]) * float(frozen.gates["na"]["m"][0]) ** 3
    balance = I - 0.3 * (V + 54.387) - 36 * n**4 * (V + 77) - 120 * h * (V - 50)
    assert np.abs(balance).max() < 0.2


def test_phase_planes_refuse_what_is_not_there(run, as_users_run_it):
    axon = hh.squid_axon()
    for arguments, message in [
        ((axon, "k.m"), "`gate` must be one of 'k.n', 'na.h', 'na.m', got 'k.m'"),
        ((hh.Network(axon), "k.n"), "`neuron` must be an hh.Neuron without channel noise"),
        (
            (eqx.tree_at(lambda n: n.channels["k"].g, axon, jnp.ones(2)), "k.n"),
            "does not fit n=1 neurons",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            plot.phase_plane(*arguments)
    with pytest.raises(ValueError, match="`frozen` must be a state of one neuron"):
        plot.phase_plane(axon, "k.n", frozen=run.ys)


def test_connectivity():
    weights = jnp.array([[0.0, 0.2, 0.0], [-0.1, 0.0, 0.4]])
    image = plot.connectivity(weights)
    np.testing.assert_array_equal(image.get_array().filled(0.0), weights)
    assert image.get_array().mask.sum() == 3 and image.get_clim() == (-0.4, 0.4)
    assert labels(image.axes) == ("Sending neuron", "Receiving neuron")
    assert image.colorbar.ax.get_ylabel() == "Weight (mS/cm²)"
    sparse = plot.connectivity(hh.connect.from_dense(np.abs(weights)))
    np.testing.assert_allclose(sparse.get_array().filled(0.0), np.abs(weights))
    assert sparse.get_clim() == (0.0, 0.4)
    points = plot.connectivity(hh.connect.from_pairs([5, 2500], [2, 1], [0.1, 0.3], (3000, 4)))
    np.testing.assert_array_equal(points.get_offsets(), [[2, 5], [1, 2500]])
    np.testing.assert_allclose(points.get_array(), [0.1, 0.3])
    assert points.axes.yaxis_inverted()
    with pytest.raises(ValueError, match=r"`weights` must have shape \(post, pre\), got \(3,\)"):
        plot.connectivity(jnp.ones(3))


def test_work_precision():
    rows = [
        ("rk4", 4.0, -1e-4),
        ("strang", 1.0, 0.6),
        ("rk4", 2.0, 1e-3),
        ("rk4", 1.0, np.nan),
        ("strang", 2.0, 0.2),
    ]
    rk4, strang = plot.work_precision(rows, error="Error (mV)")
    np.testing.assert_array_equal(rk4.get_data(), [[2.0, 4.0], [1e-3, 1e-4]])
    np.testing.assert_array_equal(strang.get_ydata(), [0.6, 0.2])
    ax = strang.axes
    assert ax.get_xscale() == ax.get_yscale() == "log" and labels(ax) == ("Run time (ms)", "Error (mV)")
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["rk4", "strang"]
    with pytest.raises(ValueError, match="`results` must have at least one row"):
        plot.work_precision([("rk4", 1.0, np.inf)])


def test_sweeps_of_one_and_two_axes():
    network = hh.Network({"e": hh.squid_axon()}, n={"e": 1})
    make = lambda axes, shape: hh.Sweep(
        axes, np.arange(np.prod(shape)).reshape(*shape, 1), None, None, None, None, network
    )
    I, g = np.array([0.0, 5.0]), np.array([1.0, 2.0, 3.0])
    (line,) = plot.sweep(make({"e.na.g": g}, (3,)), np.array([1, 2, 4]), label="Rate (Hz)")
    np.testing.assert_array_equal(line.get_data(), [g, [1, 2, 4]])
    assert labels(line.axes) == ("e.na.g (mS/cm²)", "Rate (Hz)")
    two = make({"stimulus": I, "v0": g}, (2, 3))
    mesh = plot.sweep(two, two.reduced)
    np.testing.assert_array_equal(mesh.get_array(), np.arange(6).reshape(2, 3).T)  # rows are y
    assert labels(mesh.axes) == ("stimulus (µA/cm²)", "v0 (mV)")
    with pytest.raises(ValueError, match=r"`values` must have shape \(2, 3\) or \(2, 3, 1\), got \(3, 2\)"):
        plot.sweep(two, np.zeros((3, 2)))
    with pytest.raises(ValueError, match="`result` must have one or two axes of numbers, got a, b"):
        plot.sweep(make({"a, b": [I, I]}, (2,)), I)


def test_palette_and_styles_tell_28_lines_apart(run):
    many = eqx.tree_at(lambda s: s.ys.V, run, jnp.tile(run.V, (1, 28)))
    lines = plot.traces(many, neurons=range(28), legend=False)
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 28


def test_several_calls_on_one_axes_go_on_through_the_colours(run):
    _, ax = plt.subplots()
    names = ["a", "b", "c"]
    lines = [plot.traces(run, labels=[name], ax=ax)[0] for name in names[:2]]
    lines += plot.traces(run, ax=ax, color="0.8") + plot.traces(run, labels=["c"], ax=ax)
    assert [line.get_color() for line in lines] == [*plot.COLOURS[:2], "0.8", plot.COLOURS[2]]
    assert {line.get_linestyle() for line in lines} == {"-"}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == names
    ax.clear()
    assert plot.traces(run, ax=ax)[0].get_color() == plot.COLOURS[0]
    _, axes = plt.subplots(2)
    plot.response(run, STEP, axes=list(axes))
    two = eqx.tree_at(lambda s: s.ys.V, run, jnp.tile(run.V, (1, 2)))
    drawn = plot.response(two, hh.Clamp(-20.0, 0.5), axes=list(axes))
    assert [line.get_color() for line in drawn] == 2 * list(plot.COLOURS[1:3])


@pytest.mark.parametrize("columns", [1, 2])
def test_legends_are_in_the_figure_and_off_the_data(run, columns):
    figure, axes = plt.subplots(1, columns, figsize=(6, 3), squeeze=False)
    for draw in (
        plot.gates,
        plot.currents,
        lambda run, ax: plot.fi_curve([0.0, 1.0], [0, 9], label="x", ax=ax),
    ):
        ax = axes[0, 0]
        ax.clear()
        draw(run, ax=ax)
        figure.canvas.draw()
        box = ax.get_legend().get_window_extent()
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1
        assert box.y0 >= figure.bbox.y0 and box.y1 <= figure.bbox.y1
        for other in axes[0]:
            assert not box.overlaps(other.get_window_extent())


def test_silence_and_firing_are_not_joined():
    (line,) = plot.fi_curve([0, 1, 2, 3, 4, 5], [0, 0, 50, 60, 0, 0])
    x, y = line.get_data()
    np.testing.assert_array_equal(y, [0, 0, np.nan, 50, 60, np.nan, 0, 0])
    np.testing.assert_array_equal(x, [0, 1, np.nan, 2, 3, np.nan, 4, 5])


def test_a_sweep_of_categories():
    network = hh.Network(hh.squid_axon())
    make = lambda axes, shape: hh.Sweep(axes, None, None, None, np.ones((*shape, 1), bool), None, network)
    I, g = np.array([0.0, 5.0]), np.array([1.0, 2.0, 3.0])
    regimes = np.array([["silent", "once", "fires"], ["fires", "fires", "silent"]])
    names = ["silent", "once", "blocked", "fires"]
    mesh = plot.sweep(make({"stimulus": I, "na.g": g}, (2, 3)), regimes, label="Regime", categories=names)
    np.testing.assert_array_equal(mesh.get_array(), np.array([[0, 1, 3], [3, 3, 0]]).T)
    legend = mesh.axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == names
    assert legend.get_title().get_text() == "Regime" and mesh.axes.figure.axes == [mesh.axes]
    for k, patch in enumerate(legend.get_patches()):
        assert patch.get_facecolor() == mesh.cmap(mesh.norm(k))
    assert len({patch.get_facecolor() for patch in legend.get_patches()}) == 4
    (line,) = plot.sweep(make({"na.g": g}, (3,)), regimes[0])
    np.testing.assert_array_equal(line.get_ydata(), [2, 1, 0])  # by the alphabet
    assert [tick.get_text() for tick in line.axes.get_yticklabels()] == ["fires", "once", "silent"]
    with pytest.raises(ValueError, match="`values` must be among the categories .*, got .'once'."):
        plot.sweep(make({"na.g": g}, (3,)), regimes[0], categories=["silent", "fires"])
    with pytest.raises(ValueError, match="`values` must be names where there are `categories`, got"):
        plot.sweep(make({"na.g": g}, (3,)), g, categories=names)
