"""Files of strangers: nothing in them is run, and whatever is wrong with them is one kind of error."""

import dataclasses
import importlib.util
import io
import json
import os
import pickle
import pkgutil
import re
import stat
import struct
import sys
import zipfile
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hhjax as hh
from hhjax._base.placeholder import Placeholder
from hhjax._io.names import find

from .own import Slow, twice

OWN_NAME = Slow.__module__


def header_of(thing, path):
    hh.save(path, thing)
    with zipfile.ZipFile(path) as file:
        return json.loads(file.read("header.json"))


def write(path, header, arrays=(), **options):
    """A zip file by hand: `header` as JSON or text, arrays as (name, bytes)."""
    text = header if isinstance(header, (str, bytes)) else json.dumps(header)
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("header.json", text)
        for name, content in arrays:
            file.writestr(name, content)


def npy(x, shape=None, descr=None, fortran=False):
    """The bytes of an .npy file, with another shape or type than its own."""
    x = np.asarray(x)
    out = io.BytesIO()
    said = {
        "descr": descr or x.dtype.str,
        "fortran_order": fortran,
        "shape": x.shape if shape is None else shape,
    }
    np.lib.format.write_array_header_1_0(out, said)
    return out.getvalue() + x.tobytes()


def crafted(tmp_path, thing, arrays=(), **options):
    """A file whose thing is this JSON."""
    path = tmp_path / "evil.npz"
    header = header_of(1.0, path) | {"thing": thing}
    write(path, header, arrays, **options)
    return path


def names_in(module):
    """The functions and classes that a module defines, imported or not, by its source."""
    return re.findall(r"^(?:def|class) (\w+)", module.read_text(errors="replace"), re.MULTILINE)


def modules_in(package):
    """The names and files of all modules of a package. None is imported."""
    folder = Path(importlib.util.find_spec(package).origin).parent
    for file in folder.rglob("*.py"):
        yield ".".join((package, *file.relative_to(folder).with_suffix("").parts)), file


def is_taken(name):
    return [kind for kind in ("class", "function") if not isinstance(find(kind, name, (), "x"), Placeholder)]


@pytest.mark.parametrize("package", ["jax", "numpy", "equinox", "diffrax", "optax", "optimistix", "lineax"])
def test_nothing_of_other_packages_is_taken(package):
    """Of every module that could be imported, what it defines, and of those that are, what they hold."""
    names = {f"{module}:{name}" for module, file in modules_in(package) for name in names_in(file)}
    names |= {f"{module}:{name}" for module in imported(package) for name in vars(sys.modules[module])}
    assert len(names) > 100
    may = {"diffrax._saveat:SaveAt", "diffrax._saveat:SubSaveAt", "diffrax:SaveAt", "diffrax:SubSaveAt"}
    may |= {name for name in names if re.fullmatch(r"diffrax\._\w+:(Sub)?SaveAt", name)}  # imported there
    before = set(sys.modules)
    assert {name for name in names if is_taken(name)} <= may
    assert set(sys.modules) == before


def test_nothing_of_python_is_taken():
    packages = {*sys.builtin_module_names, *sys.stdlib_module_names}
    modules = [module for module in list(sys.modules) if module.partition(".")[0] in packages]
    names = [f"{module}:{name}" for module in modules for name in list(vars(sys.modules[module]))]
    assert "builtins:eval" in names and "os:system" in names and len(names) > 5000
    assert not [name for name in names if is_taken(name)]


def imported(package):
    return [name for name in list(sys.modules) if name == package or name.startswith(f"{package}.")]


def everything_of_hhjax():
    for module in pkgutil.walk_packages(hh.__path__, "hhjax."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for module in imported("hhjax"):
        for name in list(vars(sys.modules[module])):
            yield module, name


def test_what_hhjax_itself_gives():
    taken = {"class": set(), "function": set()}
    for module, name in everything_of_hhjax():
        for kind in taken:
            found = find(kind, f"{module}:{name}", (), "x.npz")
            if not isinstance(found, Placeholder):
                taken[kind].add(f"{found.__module__}:{found.__qualname__}")
    of_others = {name for names in taken.values() for name in names if not name.startswith("hhjax")}
    assert not of_others
    rooms = {name.split(":")[0].split(".")[1] for names in taken.values() for name in names}
    assert not rooms & {"_io", "_cli", "plot", "_draw"}
    functions = {name.split(":")[1] for name in taken["function"]}
    assert {"voltage", "save_V", "save_currents", "peak", "squid_axon", "exprel", "ring"} <= functions
    acting = {
        "load",
        "save",
        "load_notes",
        "open",
        "simulate",
        "simulate_to",
        "sweep",
        "sweep_to",
        "fit",
        "use_cores",
    }
    assert not functions & (acting | {"replay", "score", "reference", "main", "traces", "equilibria"})
    classes = {name.split(":")[1] for name in taken["class"]}
    assert {"Neuron", "Progress", "_Lagging", "Sweep", "Fit", "Recording", "Axis", "_Function"} <= classes
    assert not classes & {"Saved", "NpyArchive", "Command", "Placeholder", "Writer", "Reader"}


def parts_of(x):
    """All objects in a tree."""
    yield x
    below = ()
    if isinstance(x, dict):
        below = x.values()
    elif isinstance(x, (list, tuple)):
        below = x
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        below = [getattr(x, f.name, None) for f in dataclasses.fields(x)]
    for y in below:
        yield from parts_of(y)


EVIL = [
    "os:system", "builtins:eval", "builtins:exec", "jax.numpy:load", "numpy:load", "pickle:loads", "sys:exit",
    "jax:pure_callback", "equinox:Partial", "functools:partial", "jax.tree_util:Partial",
    "operator:methodcaller",
    "hhjax:load", "hhjax:open", "hhjax.recordings:load", "hhjax._io.files:os.remove", "hhjax:use_cores",
    "hhjax._io.files:os", "hhjax.plot:traces", "hhjax._cli:main", "jax._src.config:os.system",
    "subprocess:Popen",
    "hhjax._io.store:RowsOnDisk", "hhjax:Saved", "elsewhere:Slow", "this:s", "antigravity:geohash",
]  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_what_is_not_taken_is_a_placeholder(tmp_path, name):
    node = {
        "class": "hhjax:Mean",
        "fields": {"fn": {"function": name}, "start": {"array_of": 0.0, "dtype": "float64"}},
    }
    as_class = {"class": name, "fields": {"func": {"function": "os:system"}, "args": {"tuple": ["echo"]}}}
    path = crafted(tmp_path, {"dict": {"mean": node, "object": as_class, "kept": 3.5}})
    before = set(sys.modules)
    got = hh.load(path)
    new = {module.partition(".")[0] for module in set(sys.modules) - before}
    assert new <= {"jax", "jaxlib"} and got["kept"] == 3.5  # which JAX itself imports when first used
    for x in (got["mean"].fn, got["object"]):
        assert isinstance(x, Placeholder) and name in repr(x) and "evil.npz" in repr(x)
        for use in (
            lambda: x(1.0),
            lambda: x.func,
            lambda: x[0],
            lambda: x + 1.0,
            lambda: np.asarray(x),
            lambda: list(x),
            lambda: float(x),
        ):
            with pytest.raises(
                ValueError, match=r"evil.npz names .* load the file again with allow=\["
            ) as told:
                use()
            assert name in str(told.value)
        with pytest.raises(TypeError, match="cannot be saved: evil.npz names"):
            hh.save(tmp_path / "again.npz", {"x": x})


def test_the_pickle_of_the_issue(tmp_path):
    """`Partial(jax.numpy.load, "evil.npz", allow_pickle=True)` with a pickle in front of the zip."""

    class Run:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    values = {"func": {"function": "jax.numpy:load"}, "args": {"tuple": [str(tmp_path / "evil.npz")]}}
    values["keywords"] = {"dict": {"allow_pickle": True}}
    fn = {"class": "equinox:Partial", "fields": values}
    stimulus = {"class": "hhjax.stimuli._base:_Function", "fields": {"fn": fn}}
    path = crafted(tmp_path, stimulus)
    got = hh.load(path)
    with pytest.raises(ValueError, match="evil.npz names the class equinox:Partial, .*allow="):
        hh.simulate(hh.squid_axon(), stimulus=got, t1=1.0, dt=0.1)
    path.write_bytes(pickle.dumps(Run()) + path.read_bytes())
    with pytest.raises(ValueError, match="evil.npz"):
        hh.load(path)
    assert os.listdir(tmp_path) == ["evil.npz"]


def test_ones_own_things_only_where_the_call_names_them(tmp_path):
    neuron = hh.Neuron({**hh.squid_axon().channels, "slow": Slow(g=1.0, E=-90.0)})
    thing = {"neuron": neuron, "mean": hh.Mean(twice), "V": np.arange(3.0)}
    hh.save(tmp_path / "x.npz", thing)
    got = hh.load(tmp_path / "x.npz")
    np.testing.assert_array_equal(got["V"], [0.0, 1.0, 2.0])
    assert float(got["neuron"].channels["na"].g) == 120.0
    assert isinstance(got["neuron"].channels["slow"], Placeholder)
    for shown in (str(got["neuron"]), repr(got["neuron"]), got["neuron"]._repr_html_()):
        assert f"{OWN_NAME}:Slow, which was not loaded from x.npz" in shown
    with pytest.raises(ValueError, match=rf"x.npz names the class {OWN_NAME}:Slow.*allow=\[Slow\]"):
        hh.simulate(got["neuron"], t1=1.0, dt=0.1)
    with pytest.raises(ValueError, match=rf"x.npz names the function {OWN_NAME}:twice.*allow=\[twice\]"):
        hh.simulate(hh.squid_axon(), t1=1.0, dt=0.1, reduce=got["mean"])
    got = hh.load(tmp_path / "x.npz", allow=[Slow, twice])
    assert type(got["neuron"].channels["slow"]) is Slow and got["mean"].fn is twice
    # A class is no function, nor a function a class.
    path = crafted(
        tmp_path, {"list": [{"function": f"{OWN_NAME}:Slow"}, {"class": f"{OWN_NAME}:twice", "fields": {}}]}
    )
    assert all(isinstance(x, Placeholder) for x in hh.load(path, allow=[Slow, twice]))


def test_allow_is_a_list(tmp_path, as_users_run_it):
    hh.save(tmp_path / "x.npz", 1.0)
    for allow in (Slow, ["Slow"]):
        with pytest.raises(TypeError, match="`allow` must be a list of classes and functions, got"):
            hh.load(tmp_path / "x.npz", allow=allow)


def test_a_name_is_matched_whole_before_its_end(tmp_path):
    hh.save(tmp_path / "x.npz", [hh.load, hh.recordings.load])
    for allow in ([hh.load, hh.recordings.load], [hh.recordings.load, hh.load]):
        assert hh.load(tmp_path / "x.npz", allow=allow) == [hh.load, hh.recordings.load]


@pytest.mark.parametrize("solver", ["Heun", "Tsit5", "Dopri8", "Kvaerno5", "ImplicitEuler"])
def test_runs_of_diffrax_solvers_come_back_whole(tmp_path, solver):
    import diffrax

    run = hh.simulate(hh.squid_axon(), stimulus=10.0, t1=0.2, dt=0.05, solver=getattr(diffrax, solver)())
    hh.save(tmp_path / "x.npz", run)
    assert not any(isinstance(x, Placeholder) for x in parts_of(hh.load(tmp_path / "x.npz")))


# ---------------------------------------------------------------- objects as constructed

LEAK = {"class": "hhjax:Leak", "fields": {name: {"array_of": -60.0, "dtype": "float64"} for name in "gE"}}
SOUND = {"class": "hhjax:Leak", "fields": LEAK["fields"] | {"g": {"array_of": 0.3, "dtype": "float64"}}}


@pytest.mark.parametrize(
    "thing, message",
    [
        ({"class": "hhjax:Neuron", "fields": {"channels": 3}}, "`channels` must be dict"),
        ({"class": "hhjax:Neuron", "fields": {"channels": {"dict": {"a": 3}}}}, "`channels` must be dict"),
        ({"class": "hhjax:Neuron", "fields": {"channels": {"list": []}}}, "`channels` must be dict"),
        ({"class": "hhjax:Neuron", "fields": {"channels": {"dict": {"leak": LEAK}}}}, "must be|at least"),
        ({"class": "hhjax:Neuron", "fields": {"channels": {"dict": {}}, "C": -1.0}}, "must be positive"),
        ({"class": "hhjax:Neuron", "fields": {"channels": {"dict": {}}, "C": "x"}}, "no Neuron that can be"),
        ({"class": "hhjax:Neuron", "fields": {"channels": {"dict": {}}, "C": SOUND}}, "`C` must be"),
        ({"class": "hhjax:Neuron", "fields": {"channels": {"dict": {}}, "C": {"dict": {}}}}, "`C` must be"),
        ({"class": "hhjax:Network", "fields": {"neuron": SOUND, "n": 1, "coupling": None, "noise": None}},
        "`neuron` must"),
        ({"class": "hhjax:Axis", "fields": {"where": 3, "values": 1.0}}, "`where`|no Axis"),
        ({"class": "hhjax:Sum", "fields": {"parts": {"tuple": [1.0]}}}, "`parts` must be"),
        ({"class": "hhjax:Mean", "fields": {"fn": SOUND, "start": 0.0}}, "`fn` must be"),
        ({"class": "hhjax:SpikeTimes", "fields": {"max_spikes": -3}}, "max_spikes"),
        ({"class": "hhjax:Step", "fields": {"amplitude": 1.0, "start": 5.0, "stop": 1.0}},
        "no Step that can be"),
        ({"class": "hhjax:Axis", "fields": {"where": {"tuple": []}, "values": 1.0}}, "no Axis that can be"),
        ({"class": "hhjax:Nudging", "fields": {"rates": {"tuple": [-1.0]}, "steps": 3}}, "must be positive"),
        ({"class": "hhjax:Neuron", "fields": 3}, "must hold a dict"),
        ({"class": 3, "fields": {}}, "must hold a str"),
        ({"class": "hhjax:Neuron"}, "fields"),
    ],
)  # fmt: skip
def test_objects_are_checked_as_if_constructed(tmp_path, thing, message):
    with pytest.raises(ValueError, match=rf"(?s)evil\.npz.*({message})"):
        hh.load(crafted(tmp_path, thing))


def test_what_is_no_model_but_has_its_shape_comes_back(tmp_path):
    """Derivatives by the parameters, which no model could have, and masks."""
    neuron = hh.squid_axon()
    slopes = jax.tree.map(lambda x: -x, neuron)
    assert slopes.C < 0
    masks = jax.tree.map(lambda x: True, neuron)
    gone = jax.tree.map(lambda x: jnp.full((3, 2), jnp.nan), neuron)
    hh.save(tmp_path / "x.npz", [slopes, masks, gone])
    got = hh.load(tmp_path / "x.npz")
    assert got[0].C == slopes.C and got[1].channels["na"].g is True and got[2].C.shape == (3, 2)
    spoilt = eqx.tree_at(lambda n: n.channels, neuron, {"na": 3.0})
    with pytest.raises(TypeError, match="cannot be saved: Neuron.`channels` must be dict"):
        hh.save(tmp_path / "x.npz", spoilt)


# ---------------------------------------------------------------- damage


def damaged(tmp_path, path):
    with pytest.raises(ValueError, match=r"evil\.npz"):
        hh.load(path)
    with pytest.raises(ValueError, match=r"evil\.npz"):
        hh.load_notes(path)


@pytest.mark.parametrize(
    "change",
    [
        {"version": "1"}, {"version": None}, {"version": True}, {"version": 0}, {"version": 1.5},
        {"version": [1]},
        {"versions": None}, {"versions": []}, {"versions": {}}, {"versions": {"hhjax": 3}}, {"notes": []},
        {"notes": 3}, {"saved": None}, {"saved": 3}, {"format": None}, {"format": ["hhjax"]},
        {"version": 10**30},
        *({key: ...} for key in ("format", "version", "versions", "saved", "thing", "notes")),
    ],
    ids=str,
)  # fmt: skip
def test_headers_of_other_kinds(tmp_path, change):
    path = tmp_path / "evil.npz"
    header = header_of(1.0, path) | change
    write(path, {key: x for key, x in header.items() if x is not ...})
    damaged(tmp_path, path)


@pytest.mark.parametrize(
    "text",
    ["", "3", "null", "[]", "{}", "{", '"hhjax"', b"\xff\xfe", "[" * 100_000, "NaN", "9" * 5000],
    ids=range(11),
)
def test_headers_that_are_none(tmp_path, text):
    write(tmp_path / "evil.npz", text)
    damaged(tmp_path, tmp_path / "evil.npz")


@pytest.mark.parametrize(
    "thing",
    [
        [], [1], {}, {"list": 3}, {"list": {}}, {"dict": []}, {"dict": 3}, {"tuple": "ab"}, {"float": {}},
        {"float": "x"},
        {"complex": [1]}, {"complex": ["a", "b"]}, {"unknown": 3}, {"array_of": 1.0},
        {"array_of": 1e300, "dtype": "float32"},
        {"array_of": [1, 2], "dtype": "float64"},
        {"array_of": "x", "dtype": "float64"}, {"numpy_of": 1.0, "dtype": "S999999999999"},
        {"numpy_of": 1.0, "dtype": "O"},
        {"numpy_of": 1.0, "dtype": "V8"}, {"numpy_of": 1.0, "dtype": 3}, {"numpy_of": 300, "dtype": "int8"},
        {"array_of": 1.0, "dtype": "(1000000,1000000)f8"}, {"numpy_of": 1.0, "dtype": "f8,f8"},
        {"numpy": "none"},
        {"numpy": {}}, {"numpy": ["header"]}, {"numpy": "../header"}, {"key": "none", "impl": "fry"},
        {"function": 3}, {"function": {}}, {"class": "hhjax:Leak", "fields": {}, "more": 1},
        {"class": "hhjax:Leak", "fields": {"g": 1.0, "E": 1.0, "__class__": 3}},
    ],
    ids=str,
)  # fmt: skip
def test_things_that_were_never_written(tmp_path, thing):
    with pytest.raises(ValueError, match=r"evil\.npz"):
        hh.load(crafted(tmp_path, thing))


def test_deep_nesting(tmp_path):
    path = tmp_path / "evil.npz"
    header = json.dumps(header_of(1.0, path))
    for depth in (500, 5000, 100_000):
        nested = '{"list": [' * depth + "1" + "]}" * depth
        write(path, header.replace('"thing": 1.0', f'"thing": {nested}'))
        with pytest.raises(ValueError, match=r"evil\.npz"):
            hh.load(path)


X = {"numpy": "x"}


MEMBERS = {
    "terabytes": npy([1.0], shape=(10**12,)),
    "more than 64 bits": npy([1.0], shape=(10**30,)),
    "too short": npy([1.0, 2.0], shape=(3,)),
    "too long": npy([1.0, 2.0], shape=(1,)),
    "negative": npy(np.arange(8.0), shape=(-1, -8)),
    "empty with a huge axis": npy(np.zeros(0), shape=(0, 10**30)),
    "objects": npy(np.zeros(1), descr="|O"),
    "records": npy(np.zeros(1), descr=[("a", "<f8")]),
    "nothing, often": npy(np.zeros(0), descr="|S0", shape=(10**12,)),
    "void": npy(np.zeros(1), descr="|V8"),
    "no header": b"\x93NUMPY\x01\x00",
    "other version": b"\x93NUMPY\x09\x00" + npy([1.0])[8:],
    "no truth values": npy(np.zeros(3, "u1"), descr="|b1").replace(b"\0\0\0", b"\0\1\2"),
    "no characters": npy(np.full(2, 0x110000, "u4"), descr="<U1"),
    "no characters here": npy(np.full(2, 0x110000, ">u4"), descr=">U1"),
    "no npy": b"hello",
    "empty": b"",
    "long header": b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}",
    "code": npy([1.0]).replace(b"'shape': (1,)", b"'shape': f(), "),
    "a pickle": pickle.dumps([1.0]),
}


@pytest.mark.parametrize("kind", MEMBERS)
def test_arrays_that_lie(tmp_path, kind):
    with pytest.raises(ValueError, match=r"evil\.npz"):
        hh.load(crafted(tmp_path, X, [("x.npy", MEMBERS[kind])]))


def test_zip_bombs(tmp_path, monkeypatch):
    """A small file that would become large: refused before memory is taken, until the limit is raised."""
    values = npy(np.zeros(400_000))
    path = crafted(tmp_path, X, [("x.npy", values)], compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000 and hh.load(path).size == 400_000
    monkeypatch.setattr("hhjax._io.files._ARRAYS_AT_LEAST", 10**6)
    with pytest.raises(ValueError, match=r"evil.npz: the arrays take 2\d+ bytes more.*higher `limit`"):
        hh.load(path)
    assert hh.load(path, limit=4 * 10**6).size == 400_000
    with pytest.raises(ValueError, match="evil.npz: the header takes 3"):
        hh.load(path, limit=100)
    # One array, taken often.
    path = crafted(tmp_path, {"list": [X] * 100}, [("x.npy", npy(np.zeros(10_000)))])
    with pytest.raises(ValueError, match="evil.npz: the arrays take"):
        hh.load(path)
    with pytest.raises(ValueError, match="`limit` must be a whole number of at least 1, got 0"):
        hh.load(path, limit=0)
    # What hh.save wrote is not compressed, and loads whatever its size.
    hh.save(tmp_path / "big.npz", np.ones(400_000))
    assert hh.load(tmp_path / "big.npz").size == 400_000
    monkeypatch.setattr("hhjax._io.files._HEADER_AT_LEAST", 10**4)
    path = crafted(tmp_path, {"list": [1] * 100_000}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="evil.npz: the header takes"):
        hh.load(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99], ids=str)
def test_other_compression(tmp_path, method):
    known = method if method != 99 else zipfile.ZIP_STORED
    path = crafted(tmp_path, X, [("x.npy", npy([1.0]))], compression=known)
    if method == 99:
        poke(path, 10, struct.pack("<H", 99))
    damaged(tmp_path, path)


def poke(path, at, new):
    """Other bytes in the entry of the last member in the zip directory."""
    content = bytearray(path.read_bytes())
    entry = content.rfind(b"PK\x01\x02")
    content[entry + at : entry + at + len(new)] = new
    path.write_bytes(content)


def test_members_that_lie(tmp_path):
    x = ("x.npy", npy(np.arange(100.0)))
    for at, new in [
        (8, struct.pack("<H", 1)),  # encrypted
        (16, struct.pack("<I", 7)),  # checksum
        (24, struct.pack("<I", 2**31)),  # size
        (24, struct.pack("<I", 200)),
        (20, struct.pack("<I", 200)),  # compressed size
        (42, struct.pack("<I", 3)),  # place
        (42, struct.pack("<I", 2**31)),
        (46, b"y"),  # name
    ]:
        path = crafted(tmp_path, X, [x])
        poke(path, at, new)
        with pytest.raises(ValueError, match=r"evil\.npz"):
            hh.load(path)


@pytest.mark.parametrize("name", ["../x.npy", "/x.npy", "a/x.npy", "a\\x.npy", "x\n.npy", "C:x.npy", "x"])
def test_names_with_paths(tmp_path, name):
    path = crafted(tmp_path, 1.0, [(name, npy([1.0]))])
    if name == "x":
        assert hh.load(path) == 1.0  # not ours, and not read
    else:
        damaged(tmp_path, path)


def test_members_twice_and_links(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        path = crafted(tmp_path, X, [("x.npy", npy([1.0])), ("x.npy", npy([2.0]))])
    damaged(tmp_path, path)
    link = zipfile.ZipInfo("x.npy")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    damaged(tmp_path, crafted(tmp_path, X, [(link, "/etc/passwd")]))


def test_every_cut_and_every_flipped_byte(tmp_path):
    """A damaged file raises ValueError or gives what was saved, never anything else."""
    path = tmp_path / "evil.npz"
    thing = {"x": np.arange(3.0), "y": 2.5}
    hh.save(path, thing)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    cases = [whole[:k] for k in rng.integers(0, len(whole), 40)]
    for k in rng.integers(0, len(whole), 200):
        cases.append(whole[:k] + bytes([whole[k] ^ 255]) + whole[k + 1 :])
    refused = 0
    for content in cases:
        path.write_bytes(content)
        try:
            got = hh.load(path)
        except ValueError as error:
            assert "evil.npz" in str(error)
            refused += 1
        else:
            assert got["y"] == 2.5 and got["x"].tolist() == [0.0, 1.0, 2.0]
    assert refused > 150


def test_links_to_files_are_kept(tmp_path):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "x.npz", tmp_path / "link.npz"
    hh.save(target, 1.0)
    link.symlink_to(target)
    assert hh.load(link) == 1.0
    hh.save(link, 2.0)
    assert link.is_symlink() and hh.load(target) == 2.0 and os.listdir(tmp_path / "there") == ["x.npz"]
