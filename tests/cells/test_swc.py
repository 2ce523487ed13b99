"""Files of morphologies: what a careful reader makes of each. Numbers from NEURON 9.0.2 say so."""

import math
import random
import sys
import warnings

import numpy as np
import pytest

import hhjax as hh

PLAIN = "1 1 0 0 0 10 -1\n2 3 10 0 0 1 1\n3 3 60 0 0 1 2\n4 3 110 50 0 0.5 3\n5 3 110 -50 0 0.5 3\n"
START = "1 1 0 0 0 10 -1\n2 3 10 0 0 1 1\n3 3 60 0 0 1 2\n"
SPHERE = 400 * math.pi
AS_PLAIN = (3, 191.421356, 980.608, SPHERE)  # neurite sections, their length and area, that of the soma

READ = {
    "plain": (PLAIN, *AS_PLAIN),
    "CR": (PLAIN.replace("\n", "\r"), *AS_PLAIN),
    "CRLF": (PLAIN.replace("\n", "\r\n"), *AS_PLAIN),
    "BOM": ("\ufeff" + PLAIN, *AS_PLAIN),
    "comments": ("# µm\n \t# id type\n" + PLAIN.replace(" -1\n", " -1 # soma\n"), *AS_PLAIN),
    "tabs": (PLAIN.replace(" ", "\t"), *AS_PLAIN),
    "space at the end": (PLAIN.replace("\n", "  \n"), *AS_PLAIN),
    "no last line end": (PLAIN[:-1], *AS_PLAIN),
    "blank lines": (PLAIN.replace("\n", "\n\n"), *AS_PLAIN),
    "eighth column": (PLAIN.replace("\n", " 7\n"), *AS_PLAIN),
    "exponents": (PLAIN.replace("110", "1.1e2"), *AS_PLAIN),
    "whole numbers with a point": (PLAIN.replace("5 3 110", "5.0 3.0 110"), *AS_PLAIN),
    "ids from 0": (
        "0 1 0 0 0 10 -1\n1 3 10 0 0 1 0\n2 3 60 0 0 1 1\n3 3 110 50 0 0.5 2\n4 3 110 -50 0 0.5 2\n",
        *AS_PLAIN,
    ),
    "lines shuffled": (
        "5 3 110 -50 0 0.5 3\n3 3 60 0 0 1 2\n1 1 0 0 0 10 -1\n4 3 110 50 0 0.5 3\n2 3 10 0 0 1 1\n",
        *AS_PLAIN,
    ),
    "huge id": (PLAIN.replace("\n5 ", "\n3000000000 "), *AS_PLAIN),
    "three types": (START + "4 2 110 50 0 0.25 3\n5 4 110 -50 0 0.5 3\n", 3, 191.421356, 925.080, SPHERE),
    "soma only": ("1 1 0 0 0 10 -1\n", 0, 0, 0, SPHERE),
    "type changes": (START + "4 2 110 50 0 0.5 3\n5 2 150 50 0 0.5 4\n", 2, 160.710678, 773.048, SPHERE),
    "soma after a neurite": (
        "1 3 60 0 0 1 -1\n2 3 10 0 0 1 1\n3 1 0 0 0 10 2\n", 1, 50, 314.159, SPHERE
    ),
    "soma of three points": (
        "1 1 0 0 0 10 -1\n2 1 0 -10 0 10 1\n3 1 0 10 0 10 1\n4 3 10 0 0 1 1\n5 3 60 0 0 1 4\n",
        1, 50, 314.159, SPHERE,
    ),
    "soma of three in a chain": (
        "1 1 -10 0 0 10 -1\n2 1 0 0 0 10 1\n3 1 10 0 0 10 2\n4 3 12 0 0 1 3\n5 3 60 0 0 1 4\n"
        "6 3 0 12 0 1 2\n7 3 0 60 0 1 6\n",
        2, 96, 603.186, SPHERE,
    ),
    "soma with a branch": (
        "1 1 0 0 0 5 -1\n2 1 5 0 0 5 1\n3 1 10 5 0 5 2\n4 1 10 -5 0 5 2\n5 3 20 5 0 1 3\n6 3 60 5 0 1 5\n",
        1, 40, 251.327, 601.368,
    ),
    "edge of no length": (
        "1 1 0 0 0 10 -1\n2 3 10 0 0 1 1\n3 3 10 0 0 1 2\n4 3 110 50 0 0.5 3\n5 3 110 -50 0 0.5 3\n",
        2, 223.606798, 1053.733, SPHERE,
    ),
    "step of radius at a branch": (  # and a ring, π (1 - 0.64)
        "1 1 0 0 0 10 -1\n2 3 10 0 0 1 1\n3 3 10 0 0 0.8 2\n4 3 60 0 0 0.8 3\n5 3 10 -50 0 0.8 3\n",
        2, 100, 503.786, SPHERE,
    ),
    "branch at the first point": (
        START + "4 3 80 0 0 1 3\n5 3 10 50 0 0.5 2\n6 3 10 90 0 0.5 5\n", 2, 160, 801.118, SPHERE
    ),
    "a point on each µm": (
        "1 1 0 0 0 10 -1\n2 3 10 0 0 1 1\n3 3 20 0 0 1 2\n4 3 30 0 0 1 3\n5 3 40 0 0 1 4\n",
        1, 30, 188.496, SPHERE,
    ),
    "no soma": ("1 3 0 0 0 1 -1\n2 3 50 0 0 1 1\n3 3 0 30 0 1 1\n", 2, 80, 502.655, 0),
}  # fmt: skip

DOUBTED = {
    "tip of radius 0": (
        PLAIN.replace("110 50 0 0.5", "110 50 0 0"),
        (3, 191.421356, 869.550, SPHERE),
        "id 4",
    ),
    "parent -2": (PLAIN.replace("10 -1", "10 -2"), AS_PLAIN, "id 1, has the parent -2"),
    "type -1": (PLAIN.replace("5 3 110", "5 -1 110"), AS_PLAIN, "type -1 .id 5"),
    "neurite of one point": (PLAIN + "6 3 0 30 0 1 1\n", AS_PLAIN, "one point .* id 6"),
    "gap": (PLAIN.replace("2 3 10", "2 3 40"), (3, 161.421356, 792.113, SPHERE), "30 µm off the soma: id 2"),
    "0x1A": (PLAIN + "\x1a", AS_PLAIN, "0x1A"),
}

REFUSED = {
    "negative radius": (
        PLAIN.replace("60 0 0 1", "60 0 0 -1"),
        "line 3 .id 3.: negative radius -1.*`radius=",
    ),
    "NaN radius": (PLAIN.replace("60 0 0 1", "60 0 0 nan"), "line 3 .id 3.: radius nan.*`radius="),
    "no radii": (
        "1 1 0 0 0 0 -1\n2 3 10 0 0 0 1\n3 3 60 0 0 0 2\n",
        r"line 1 \(id 1\): radius 0.*`radius=.*3 of 3",
    ),
    "id twice": (PLAIN + "5 3 200 0 0 1 4\n", r"id 5 appears twice \(lines 5 and 6\)"),
    "lost parent": (START + "6 3 200 0 0 1 4\n", r"line 4 \(id 6\): its parent 4 is not.*`root=1`.*`join="),
    "two roots": (
        PLAIN + "6 3 500 0 0 1 -1\n7 3 550 0 0 1 6\n",
        r"line 6 \(id 6\): more than one root: ids 1, 6.*`root=1`",
    ),
    "circle": (
        PLAIN + "6 3 200 0 0 1 7\n7 3 210 0 0 1 6\n",
        r"line 6 \(id 6\): ids 6, 7 form a circle.*`root=1`",
    ),
    "own parent": ("1 1 0 0 0 10 1\n", r"line 1 \(id 1\): id 1 is its own parent"),
    "no points": ("# nothing\n", "no points"),
    "empty": ("", "no points"),
    "soma not at ±r": (
        "1 1 0 0 0 10 -1\n2 1 0 -5 0 10 1\n3 1 0 5 0 10 1\n4 3 10 0 0 1 1\n5 3 60 0 0 1 4\n",
        r"line 2 \(id 2\): .* ids 2, 3 must be at ± its radius, 10 µm, got 5 and 5 µm.*`soma=",
    ),
    "two somata": (
        PLAIN + "6 1 120 -50 0 5 5\n",
        r"line 6 \(id 6\): the points of the soma .* hang together",
    ),
    "letters": (PLAIN.replace("60", "6o"), r"line 3 \(id 3\): x must be a finite number, got '6o'"),
    "infinite": (PLAIN.replace("60", "inf"), r"line 3 \(id 3\): x must be a finite number, got 'inf'"),
    "far": (PLAIN.replace("60", "6e9"), r"line 3 \(id 3\): x must be within ±1e\+07 µm, got '6e9'"),
    "half a type": (PLAIN.replace("5 3 110", "5 3.5 110"), r"line 5 \(id 5\): type must be a whole number"),
    "negative id": (PLAIN.replace("\n5 ", "\n-5 "), "line 5: id must not be negative, got '-5'"),
    "six columns": (PLAIN.replace("60 0 0 1 2", "60 0 0 2"), "line 3: it must have id, type, x"),
    "semicolons": (PLAIN.replace(" ", ";"), "line 1: it must have id, type, x"),
    "zeros": (PLAIN + "\0\0", "no text"),
    "one dendritic point": ("1 3 0 0 0 1 -1\n", "no cell"),
    "endless": (
        "1 1 0 0 0 10 -1\n2 3 10 0 0 1e-5 1\n3 3 9e6 0 0 1e-5 2\n",
        "`d_lambda` .* 'dend.0.' is 8.99999e",
    ),
}


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        path = tmp_path / "cell.swc"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return hh.cells.load(path, **options)

    return read


def numbers(shape):
    neurites = [s for s in shape.sections.values() if s.region != "soma"]
    on = shape.compartments.region == "soma"
    return (
        len(neurites),
        sum(s.length.sum() for s in neurites),
        shape.compartments.area[~on].sum(),
        shape.compartments.area[on].sum(),
    )


def assert_numbers(shape, wanted):
    found = numbers(shape)
    assert found[0] == wanted[0]
    np.testing.assert_allclose(found[1:], wanted[1:], rtol=0, atol=1e-3)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-8)


@pytest.mark.parametrize("name", READ)
def test_files_are_read(read, name):
    text, *wanted = READ[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_numbers(read(text), wanted)


@pytest.mark.parametrize("name", DOUBTED)
def test_doubtful_files_are_read_with_a_warning(read, name):
    text, wanted, said = DOUBTED[name]
    with pytest.warns(UserWarning, match=said) as found:
        shape = read(text)
    assert len(found) == 1
    assert_numbers(shape, wanted)
    assert any(note in str(found[0].message) for note in shape.notes) and shape.notes[-1] in str(shape)


@pytest.mark.parametrize("name", REFUSED)
def test_others_are_refused(read, name):
    text, said = REFUSED[name]
    with pytest.raises(ValueError, match=said) as found:
        read(text)
    assert str(found.value).startswith(("cell.swc", "`d_lambda`"))


def test_other_codes(read, tmp_path):
    assert read(PLAIN.encode("utf-16")) == read(PLAIN)
    assert read("# Länge in µm\n".encode("latin-1") + PLAIN.encode()) == read(PLAIN)
    (tmp_path / "cell.txt").write_text(PLAIN)
    with pytest.raises(ValueError, match="`path` must be a file .swc, .asc or .h5, got 'cell.txt'"):
        hh.cells.load(tmp_path / "cell.txt")
    with pytest.raises(FileNotFoundError):
        hh.cells.load(tmp_path / "none.swc")
    (tmp_path / "CELL.SWC").write_text(PLAIN)
    assert hh.cells.load(str(tmp_path / "CELL.SWC")) == read(PLAIN)


def test_names_parents_and_points(read):
    text = START + "4 3 80 0 0 1 3\n5 4 60 40 0 0.5 3\n6 2 60 90 0 0.5 5\n7 9 0 20 0 1 1\n8 9 0 40 0 1 7\n"
    shape = read(text)
    on = {name: (s.parent, s.at, s.region) for name, s in shape.sections.items()}
    assert on == {
        "soma": (None, 1.0, "soma"),
        "dend[0]": ("soma", 0.5, "dend"),
        "dend[1]": ("dend[0]", 1.0, "dend"),
        "apic[0]": ("dend[0]", 1.0, "apic"),
        "axon[0]": ("apic[0]", 1.0, "axon"),
        "type9[0]": ("soma", 0.5, "type9"),
    }
    np.testing.assert_array_equal(shape.sections["apic[0]"].points, [[60, 0, 0], [60, 40, 0]])
    np.testing.assert_array_equal(shape.sections["apic[0]"].diameter, [2, 1])
    assert shape.sections["soma"].length == shape.sections["soma"].diameter[0] == 20
    assert any("type 9 (ids 7, 8)" in note for note in shape.notes)
    both = read(text, types={9: "dend", 4: "tuft"})
    assert list(both.regions) == ["soma", "dend", "tuft", "axon"]
    assert both.sections["dend[2]"].parent == "soma"
    assert read(text, max_length=5.0).n == 1 + 10 + 4 + 8 + 10 + 4  # the soma, 50, 20, 40, 50 and 20 µm


def test_the_order_of_ids_is_no_matter(read):
    rows = [line.split() for line in READ["branch at the first point"][0].splitlines()]
    lines = [" ".join(row) for row in reversed(rows)]
    assert read("\n".join(lines)) == read(READ["branch at the first point"][0])


def test_trees_may_be_left_out_or_joined(read):
    text = REFUSED["two roots"][0]
    assert_numbers(read(text, root=1), AS_PLAIN)
    assert_numbers(read(text, root=4), AS_PLAIN)  # any point of it
    assert_numbers(read(text, root=7), (1, 50, 314.159, 0))
    with pytest.warns(UserWarning, match="id 6 is joined to id 4, 393 µm"):
        joined = read(text, join=True)
    gap = math.hypot(390, 50)
    frustum = math.pi * 1.5 * math.hypot(gap, 0.5)
    assert_numbers(joined, (3, 191.421356 + gap + 50, 980.608 + frustum + 314.159, SPHERE))
    assert joined.sections["dend[1]"].length.size == 3  # it goes on from its tip
    # On the soma there is nothing between.
    with pytest.warns(UserWarning, match="id 6 is joined to id 1, 1 µm"):
        assert_numbers(
            read(PLAIN + "6 3 0 11 0 1 -1\n7 3 0 61 0 1 6\n", join=True),
            (4, 241.421356, 980.608 + 314.159, SPHERE),
        )
    lost = REFUSED["lost parent"][0] + "7 3 250 0 0 1 6\n"
    assert_numbers(read(lost, root=1), (1, 50, 314.159, SPHERE))
    assert_numbers(read(REFUSED["circle"][0], root=1), AS_PLAIN)
    with pytest.raises(ValueError, match="ids 6, 7 form a circle"):
        read(REFUSED["circle"][0], join=True)
    with pytest.raises(ValueError, match="`root` must be the id of a point of a tree, got 6, in a circle"):
        read(REFUSED["circle"][0], root=6)


def test_radii_and_somata_may_be_given(read):
    assert_numbers(read(REFUSED["negative radius"][0], radius=1.0), AS_PLAIN)
    with pytest.warns(UserWarning, match="8 µm off the soma"):
        assert_numbers(read(REFUSED["no radii"][0], radius=2.0), (1, 50, 628.319, 16 * math.pi))
    text = REFUSED["soma not at ±r"][0]
    assert_numbers(read(text, soma="sphere"), (1, 50, 314.159, SPHERE))
    assert_numbers(read(text, soma="frusta"), (1, 50, 314.159, 628.319))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"radius": 0}, r"`radius` must be between 1e-06 and 1e\+07 in µm, got 0"),
        ({"root": 1.5}, "`root` must be the id"),
        ({"root": 8}, "`root` must be the id of a point of a tree, got 8, not in the file"),
        ({"join": "yes"}, "`join` must be True or False, got 'yes'"),
        ({"root": 1, "join": True}, "give one of them"),
        ({"soma": "ball"}, "`soma` must be one of 'sphere', 'frusta', got 'ball'"),
        ({"soma": "frusta"}, "`soma` must be 'sphere' for a soma of one point"),
        ({"types": {5: "a.b"}}, "got 'a.b'"),
        ({"types": {3: "soma"}}, "leave 1 to the soma"),
        ({"types": ["dend"]}, "`types` must be names of regions by number"),
        ({"max_length": 0}, "`max_length` must be a positive finite number in µm, got 0"),
        ({"d_lambda": -0.1}, "`d_lambda` must be a positive finite number, got -0.1"),
        ({"max_length": 1e-300}, "`max_length` must make 1,000,000 compartments at most"),
    ],
)
def test_options_are_checked(read, options, said, as_users_run_it):
    with pytest.raises(ValueError, match=said):
        read(PLAIN, **options)


def to_soma(shape, place, resistivity):
    """Input resistance of the soma, and from it to a place (MΩ), for 0.1 mS/cm², by a dense solution."""
    geometry = hh.Cell(shape, hh.squid_axon(), resistivity=resistivity).geometry
    child, parent = shape.joints.links.child, shape.joints.links.parent
    G = np.zeros((len(child) + 1,) * 2)
    G[range(shape.n), range(shape.n)] = 1e-6 * shape.compartments.area  # µS
    g = np.asarray(geometry.conductance())
    for a, b, sign in ((child, child, 1), (parent, parent, 1), (child, parent, -1), (parent, child, -1)):
        np.add.at(G, (a, b), sign * g)
    inject = np.zeros(len(G))
    soma = shape.index("soma(0.5)")
    inject[soma] = 1
    V = np.linalg.solve(G, inject)
    return V[soma], V[shape.index(place)]


HAND = {  # closed forms; of the taper an equation solved to 1e-12
    "ball and stick": ("2 3 10 0 0 1 1\n3 3 510 0 0 1 2\n", 263.60220389813713, 188.4176532402804),
    "taper": ("2 3 10 0 0 2 1\n3 3 310 0 0 0.5 2\n", 282.34422241245863, 264.2052855512664),
}


@pytest.mark.parametrize("name", HAND)
def test_resistances_of_cells_by_hand(read, name):
    text, *wanted = HAND[name]
    found = to_soma(read("1 1 0 0 0 10 -1\n" + text, max_length=1.0), "dend[0](1)", 150.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_against_neuron(read):
    """A soma of five points, neurites within it; NEURON's numbers with 81 segments in each section."""
    rows = []

    def chain(kind, parent, x, y, dx, dy, radii):
        for k, r in enumerate(radii):
            rows.append(f"{len(rows) + 1} {kind} {x + dx * k} {y + dy * k} 0 {r} {parent}")
            parent = len(rows)
        return parent

    for parent, x, r in zip((-1, 1, 2, 3, 4), (0, 4, 8, 13, 18), (3, 6, 8, 7, 4)):
        chain(1, parent, x, 0, 0, 0, [r])
    thin = lambda r, n: [round(r * 0.99**k, 4) for k in range(n)]
    fork = chain(3, 2, 4, 6, 1, 9, thin(1.0, 20))
    chain(3, fork, 25, 180, 5, 5, thin(0.7, 20))
    chain(3, fork, 20, 180, -5, 5, thin(0.6, 30))
    chain(4, 3, 8, -8, 2, -9, thin(1.2, 30))
    chain(2, 4, 13, -7, 7, -4, thin(0.8, 30))
    shape = read("\n".join(rows), max_length=2.0)
    assert list(shape.sections) == ["soma", "dend[0]", "dend[1]", "dend[2]", "apic[0]", "axon[0]"]
    np.testing.assert_allclose(shape.compartments.area.sum(), 5776.991822438116, rtol=1e-8)
    np.testing.assert_allclose(to_soma(shape, "dend[2](1)", 150.0), (187.60229, 144.86424), rtol=5e-4)


def test_a_step_of_radius_is_a_ring():
    section = hh.cells.Section([10, 0, 10], [2, 2, 1, 1])
    # As in NEURON, with one, two and four segments.
    np.testing.assert_allclose(section.cut(1).area, [96.60397409788614], rtol=1e-12)
    np.testing.assert_allclose(section.cut(2).area, [65.18804756198821, 31.41592653589793], rtol=1e-12)
    np.testing.assert_allclose(
        section.cut(4).area,
        [31.41592653589793, 33.77212102609028, 15.707963267948966, 15.707963267948966],
        rtol=1e-12,
    )


def by_rule(text):
    """Area of a file with a right cell, edge by edge; `None` for a soma of three points."""
    rows = [[float(x) for x in line.split("#")[0].split()[:7]] for line in text.split("\n")]
    points = {row[0]: row for row in rows if row}
    somata = [row for row in points.values() if row[1] == 1]
    sphere = len(somata) == 1
    area = 4 * math.pi * somata[0][5] ** 2 if sphere else 0.0
    for row in points.values():
        if row[6] < 0:
            continue
        on = points[row[6]]
        h = math.dist(row[2:5], on[2:5])
        if {row[1] == 1, on[1] == 1} == {True, False}:
            continue
        if len(somata) == 3 and row[1] == 1:
            return None
        area += math.pi * (row[5] + on[5]) * math.hypot(h, row[5] - on[5])
    return area


def test_damaged_files(read):
    """Each is refused, or is the cell that its lines say."""
    of = random.Random(0)
    texts = [x[0] for x in (*READ.values(), *DOUBTED.values(), *REFUSED.values())]
    right = 0
    for _ in range(800):
        data = bytearray(of.choice(texts).encode())
        for _ in range(of.choice([1, 1, 2, 4])):
            at = of.randrange(len(data)) if data else 0
            change = of.randrange(6)
            if change == 0:
                data[at : at + 1] = bytes([of.randrange(256)])
            elif change == 1:
                data[at : at + 1] = bytes([of.choice(b"0123456789-+.e nf#\r\n\t_")])
            elif change == 2:
                del data[at : at + of.randrange(1, 8)]
            elif change == 3:
                data[at:at] = of.choice([b"9", b"1e", b"-", b".", b"\x1a", b"\0", b"nan", b"inf", b"\xc2"])
            else:
                lines = bytes(data).split(b"\n")
                if change == 4:
                    del lines[of.randrange(len(lines))]
                else:
                    lines.insert(of.randrange(len(lines) + 1), of.choice(lines))
                data = bytearray(b"\n".join(lines))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                shape = read(bytes(data))
        except ValueError as error:
            assert str(error).startswith(("cell.swc", "`d_lambda`"))
            continue
        text = bytes(data).decode("utf-8-sig", "replace").rstrip("\x1a\0\r\n\t ")
        wanted = by_rule(text.replace("\r\n", "\n").replace("\r", "\n"))
        if wanted is not None:
            np.testing.assert_allclose(shape.compartments.area.sum(), wanted, rtol=1e-9)
            right += 1
    assert right > 30


def test_long_chains_and_many_branches(read):
    """No recursion, no cost that grows with the square."""
    n = 10_000
    chain = [f"{k} 3 {8 + k / 2} 0 0 1 {k - 1}" for k in range(2, n)]
    shape = read("\n".join(["1 1 0 0 0 8 -1", *chain]), d_lambda=0.3)
    assert_numbers(shape, (1, (n - 3) / 2, (n - 3) * math.pi, 256 * math.pi))
    assert read("\n".join([*reversed(chain), "1 1 0 0 0 8 -1"]), d_lambda=0.3) == shape
    comb = [f"{k} 3 {8 + k} 0 0 1 {max(k - 2, 2)}\n{k + 1} 3 {8 + k} 5 0 1 {k}" for k in range(4, 3_000, 2)]
    comb = read("\n".join(["1 1 0 0 0 8 -1", "2 3 10 0 0 1 1", *comb]))
    assert len(comb.sections) == 2 * 1_498 and comb.compartments.area.sum() == pytest.approx(
        256 * math.pi + 2 * math.pi * (2_998 - 2 + 1_498 * 5)
    )


ASC = """
("CellBody" (CellBody)
  (10 0 0 0.2) (7 5 0 0.2) (0 8 0 0.2) (-7 6 0 0.2) (-12 0 0 0.2) (-7 -5 0 0.2) (0 -7 0 0.2) (7 -6 0 0.2))
((Dendrite) (10 0 0 2) (60 0 0 2)
  ((60 0 0 1.5) (110 50 0 1) | (110 -50 0 1) (120 -50 0 1)))
((Axon) (-12 0 0 1) (-100 0 0 0.5))
"""


def test_asc_and_h5(tmp_path):
    """Areas are NEURON's (Import3d_Neurolucida3, 1 segment in the soma, else 81)."""
    morphio = pytest.importorskip("morphio")
    (tmp_path / "cell.asc").write_text(ASC)
    morphio.mut.Morphology(str(tmp_path / "cell.asc")).write(str(tmp_path / "cell.h5"))
    wanted = {
        "soma": 820.273240379377,
        "dend[0]": 314.1592653589789,
        "dend[1]": 277.6819191306222,
        "dend[2]": 253.56007344381618,
        "axon[0]": 207.34595185203148,
    }
    for name in ("cell.asc", "cell.h5"):
        shape = hh.cells.load(tmp_path / name)
        assert {k: (s.parent, s.at) for k, s in shape.sections.items()} == {
            "soma": (None, 1.0),
            "dend[0]": ("soma", 0.5),
            "dend[1]": ("dend[0]", 1.0),
            "dend[2]": ("dend[0]", 1.0),
            "axon[0]": ("soma", 0.5),
        }
        for section, area in wanted.items():
            np.testing.assert_allclose(
                shape.compartments.area[shape.compartments.section == section].sum(), area, rtol=1e-7
            )
    (tmp_path / "cell.asc").write_text(ASC.replace("(7 5 0 0.2)", "(7 5 0"))
    with pytest.raises(ValueError, match="cell.asc is not read by MorphIO"):
        hh.cells.load(tmp_path / "cell.asc")
    with pytest.raises(FileNotFoundError):
        hh.cells.load(tmp_path / "none.asc")


def test_asc_needs_morphio(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "morphio", None)
    (tmp_path / "cell.asc").write_text(ASC)
    with pytest.raises(ImportError, match=r"pip install 'hhjax\[morphology\]'"):
        hh.cells.load(tmp_path / "cell.asc")
