"""Settings under which every test runs, and the reference values."""

import gc
import itertools
import json
from pathlib import Path

import jax
import jaxtyping
import matplotlib
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
matplotlib.use("Agg")

DATA = json.loads((Path(__file__).parent / "data" / "hodgkin_huxley_1952.json").read_text())


# JAX makes many objects that stay: to look for garbage among them as often as Python does by default took
# 7 % of the time.
gc.set_threshold(5_000, 20, 10)


def pytest_collection_finish():
    gc.freeze()  # what was imported stays


MAPS = Path("/proc/self/maps")
most_maps = [30_000]
tests_done = itertools.count(1)


@pytest.fixture(autouse=True)
def room_for_programs():
    """Programs of tests that are done make room before Linux has no more maps for others (65,530)."""
    yield
    count = lambda: MAPS.read_bytes().count(b"\n") if MAPS.exists() else 0
    if next(tests_done) % 8 == 0 and count() > most_maps[0]:  # to count takes some 20 ms
        jax.clear_caches()
        gc.collect()
        most_maps[0] = max(most_maps[0], count() + 2_000)  # what is free now is used again


@pytest.fixture
def as_users_run_it():
    """Without the run-time type checks of the test command, whose errors would come first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def reference():
    """Values of the classic model; the file says where they come from."""
    return DATA
