"""The command line, `python -m hhjax`."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax

from .._version import __version__
from ._analyse import ANALYSE
from ._cell import CELL
from ._common import Command, HelpFormatter
from ._demos import COMPARE, FI, NETWORK
from ._fit import FIT
from ._sweep import SWEEP

COMMANDS = {command.name: command for command in (COMPARE, NETWORK, FI, CELL, FIT, SWEEP, ANALYSE)}


DEMOS = (COMPARE.name, NETWORK.name, FI.name)


_DEMO = Command(
    "demo", f"run {', '.join(DEMOS[:-1])} and {DEMOS[-1]}", lambda parser: None, lambda **options: None
)


_ALIASES = {ANALYSE.name: ["analyze"]}


_OUT = Path("hhjax_figures")


_MISTAKES = (ValueError, FloatingPointError, ImportError, OSError)


def make_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser, and that of each command by its name."""
    out = argparse.ArgumentParser(add_help=False)
    told = f"folder for what is written, by default {_OUT}"
    # No default here: that of a command would replace what was given before the command.
    out.add_argument("--out", type=Path, default=argparse.SUPPRESS, help=told)
    parser = argparse.ArgumentParser(
        prog="python -m hhjax",
        description="Simulate Hodgkin-Huxley neurons.",
        parents=[out],
        formatter_class=HelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"hhjax {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    found = {}
    for command in (_DEMO, *COMMANDS.values()):
        found[command.name] = commands.add_parser(
            command.name,
            aliases=_ALIASES.get(command.name, []),
            help=command.help,
            description=f"{command.help[0].upper()}{command.help[1:]}.",
            parents=[out],
            formatter_class=HelpFormatter,
        )
        command.add(found[command.name])
        found[command.name].set_defaults(command=command.name)
    return parser, found


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line on `argv`, by default the program's own."""
    parser, _ = make_parser()
    given = parser.parse_args(argv, argparse.Namespace(out=_OUT))
    if given.command is None:
        parser.print_help()
        return
    is_demo = given.command == _DEMO.name
    with jax.enable_x64(True):
        for name in DEMOS if is_demo else [given.command]:
            alone = argparse.Namespace(out=given.out)
            options = vars(parser.parse_args([name], alone) if is_demo else given)
            try:
                _try_folder(given.out)
                COMMANDS[name].run(**{key: x for key, x in options.items() if key != "command"})
            except _MISTAKES as error:
                parser.exit(2, f"{parser.prog} {name}: {' '.join(str(error).split())}\n")


def _try_folder(out: Path) -> None:
    """Refuse a folder into which nothing can be written, before anything is computed; leave no trace."""
    there = next((x for x in (out, *out.absolute().parents) if x.exists()), out)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise OSError(f"--out must be a folder that can be written, got {out}: {error.strerror}.") from None
