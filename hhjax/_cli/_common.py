"""What the commands share."""

import argparse
import csv
import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

import hhjax as hh

from .._base.host import known_are
from .._model.names import parameters


@dataclasses.dataclass(frozen=True)
class Command:
    """A command: `add` gives its options to a parser, `run` takes them by name, and `out`."""

    name: str
    help: str
    add: Callable[[argparse.ArgumentParser], None]
    run: Callable[..., None]


class HelpFormatter(argparse.HelpFormatter):
    """Tells defaults, where there are any."""

    def __init__(self, prog: str, **options: Any):
        super().__init__(prog, **{"max_help_position": 28} | options)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        is_flag = action.nargs == 0
        told = not is_flag and action.default not in (None, [], argparse.SUPPRESS) and action.help
        return f"{action.help} (default: %(default)s)" if told else action.help


def device() -> str:
    found = jax.devices()[0]
    return f"{found.platform.upper()} ({found.device_kind})"


def save_figure(figure: Any, out: Path, name: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    path = out / name
    figure.savefig(path, dpi=150)
    print(f"\nFigure: {path.resolve()}\n")


def save_csv(headers: Sequence[str], rows: Iterable[Sequence[Any]], out: Path, name: str) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with open(out / name, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([headers, *rows])
    print(f"Table: {(out / name).resolve()}")


def save_result(thing: Any, out: Path, name: str, **notes: Any) -> None:
    out.mkdir(parents=True, exist_ok=True)
    hh.save(out / name, thing, **notes)
    print(f"All of it, for hh.load and numpy.load: {(out / name).resolve()}\n")


def one_of(kind: str, name: str, known: Iterable[str]) -> str:
    """`name` if it is known, or a `ValueError` with the nearest match."""
    known = list(known)
    if name not in known:
        raise ValueError(f"unknown {kind} {name!r}.{known_are(name, known)}")
    return name


def check_positive(**options: Any) -> None:
    """Refuse options that are not positive and finite; each is a number, a list of them or `None`."""
    for name, value in options.items():
        for x in value if isinstance(value, list) else [value]:
            if x is not None and not 0 < x < math.inf:
                raise ValueError(f"--{name} must be positive and finite, got {x}.")


def add_model(parser: argparse.ArgumentParser, **options: Any) -> None:
    """The options from which `make_model` makes a neuron."""
    names = ", ".join(hh.neurons.by_name)
    parser.add_argument("--model", metavar="NAME", help=f"one of {names}", **options)
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE",
        help="another value for a parameter, such as na.g=100 or C=1.5; may be repeated",
    )  # fmt: skip


def add_threshold(parser: argparse.ArgumentParser) -> None:
    """The option that says what a spike is."""
    parser.add_argument("--threshold", type=float, default=0.0, help="of a spike, mV")


def make_model(name: str, settings: Sequence[str]) -> hh.Neuron:
    """The neuron of that name, with `NAME=VALUE` settings."""
    neuron = hh.neurons.by_name[one_of("model", name, hh.neurons.by_name)]()
    for setting in settings:
        parameter, _, value = setting.partition("=")
        try:
            number = float(value)
        except ValueError:
            raise ValueError(f"--set takes NAME=VALUE, such as na.g=100, got {setting!r}.") from None
        one_of("parameter", parameter, parameters(neuron))
        neuron = hh.replace(neuron, {parameter: number})
    return neuron
