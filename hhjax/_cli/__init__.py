"""The command line, `python -m hhjax`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import jax

from ._analyse import ANALYSE
from ._common import HelpFormatter
from ._demos import COMPARE, FI, NETWORK
from ._fit import FIT
from ._sweep import SWEEP

COMMANDS = {command.name: command for command in (COMPARE, NETWORK, FI, FIT, SWEEP, ANALYSE)}


DEMOS = (COMPARE.name, NETWORK.name, FI.name)


_OUT = Path("hhjax_figures")


_MISTAKES = (ValueError, FloatingPointError, ImportError, OSError)


def _parser() -> argparse.ArgumentParser:
    out = argparse.ArgumentParser(add_help=False)
    told = f"folder for what is written, by default {_OUT}"
    # Without a default here, which in a command would hide what was given before it.
    out.add_argument("--out", type=Path, default=argparse.SUPPRESS, help=told)
    parser = argparse.ArgumentParser(
        prog="python -m hhjax",
        description=f"Simulate Hodgkin-Huxley neurons. Without a command {', '.join(DEMOS)} run.",
        parents=[out],
        formatter_class=HelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS.values():
        command.add(
            commands.add_parser(
                command.name,
                help=command.help,
                description=command.help,
                parents=[out],
                formatter_class=HelpFormatter,
            )
        )
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line on `argv`, by default the program's own."""
    parser = _parser()
    given = parser.parse_args(argv, argparse.Namespace(out=_OUT))
    names = [given.command] if given.command else DEMOS
    with jax.enable_x64(True):
        for name in names:
            alone = argparse.Namespace(out=given.out)
            options = vars(given if given.command else parser.parse_args([name], alone))
            try:
                COMMANDS[name].run(**{key: x for key, x in options.items() if key != "command"})
            except _MISTAKES as error:
                parser.exit(2, f"{parser.prog} {name}: {' '.join(str(error).split())}\n")
