"""Settings under which every test runs, and the reference values."""

import gc
import json
import os
from pathlib import Path

import jax
import jaxlib
import jaxtyping
import matplotlib
import pytest

# The tests spend most of their time compiling, which XLA:CPU's older emitters do in half the time,
# and LLVM in a tenth less if it tries less hard.
_FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1"
if jaxlib.version.__version_info__[:2] <= (0, 10) and _FLAGS not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAGS}".strip()

# Traced programs are millions of objects that live on; looking them through is a tenth of the time.
gc.set_threshold(100_000, 20, 100)

jax.config.update("jax_traceback_in_locations_limit", 0)  # which costs time to put into programs
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
matplotlib.use("Agg")

DATA = json.loads((Path(__file__).parent / "data" / "hodgkin_huxley_1952.json").read_text())


# They run for longer than they compile, or look at the last digits, also against another process.
_OPTIMISED = "tests.test_noise", "tests.test_channel_noise", "tests.test_math", "tests.test_store"


@pytest.fixture(autouse=True)
def little_optimised(request):
    """Most tests compile for longer than they run."""
    if request.module.__name__ not in _OPTIMISED:
        jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True, scope="session")
def quick_to_compile():
    """Gradients that go back one step at a time. Gives the usual numbers of steps."""
    from hhjax import _loop

    usual, _loop._BLOCK = _loop._BLOCK, (1, 1)
    return usual


@pytest.fixture
def usual_blocks(quick_to_compile, monkeypatch):
    """Gradients that go back as many steps at a time as users' do."""
    monkeypatch.setattr("hhjax._loop._BLOCK", quick_to_compile)


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
