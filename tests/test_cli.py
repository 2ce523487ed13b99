import subprocess
import sys

import pytest

from hhjax.__main__ import main


def test_compare_shows_what_blew_up(tmp_path, capsys):
    main(["compare", "--t1", "20", "--dt", "0.1", "0.05", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    rows = {tuple(line.split()[:2]): line.split() for line in out.splitlines() if len(line.split()) > 3}
    assert "blew up at 2.6 ms" in out
    assert rows[("rk4", "0.1")][2] == "-" and rows[("rk4", "0.05")][2] == "2"
    assert float(rows[("ind_exp_euler", "0.1")][4]) > 5 * float(rows[("strang", "0.1")][4]) > 0
    assert (tmp_path / "compare.png").stat().st_size > 20_000


def test_network_and_fi(tmp_path, capsys):
    main(["network", "--n", "5", "--t1", "20", "--dt", "0.05", "--solver", "rk4", "--out", str(tmp_path)])
    main(["fi", "--n", "3", "--current", "20", "--t1", "300", "--dt", "0.05", "--out", str(tmp_path)])
    out = capsys.readouterr().out
    # 86.47 Hz at 20 µA/cm² is the reference value; strang at 0.05 ms is 0.12 Hz off.
    rates = dict(
        line.split() for line in out.splitlines() if line.strip().startswith(("0.00", "10.00", "20.00"))
    )
    assert float(rates["0.00"]) == 0.0
    assert float(rates["10.00"]) == pytest.approx(68.32, abs=0.2)
    assert float(rates["20.00"]) == pytest.approx(86.47, abs=0.2)
    assert {p.name for p in tmp_path.iterdir()} == {"network.png", "fi.png"}


def test_mistakes_are_answered_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["fi", "--solver", "strong", "--out", str(tmp_path)])
    assert stop.value.code == 2
    assert "Did you mean 'strang'" in capsys.readouterr().err


def test_help_names_every_option():
    for command, options in {
        "compare": ["--dt", "--t1", "--current", "--out"],
        "network": ["--dt", "--t1", "--current", "--n", "--solver", "--out"],
        "fi": ["--dt", "--t1", "--current", "--n", "--solver", "--out"],
    }.items():
        run = subprocess.run(
            [sys.executable, "-m", "hhjax", command, "--help"], capture_output=True, text=True
        )
        assert run.returncode == 0
        assert all(option in run.stdout for option in options)


def test_importing_the_library_leaves_matplotlib_alone():
    code = "import sys, hhjax; print('matplotlib' in sys.modules, 'optax' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout.split() == ["False", "False"]
