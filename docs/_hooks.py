"""What the site needs besides mkdocs: `hh.` in cross-references, and API entries for all public names."""

import ast
import os
import re
from pathlib import Path
from unittest import mock

import griffe

_ROOT = Path(__file__).parents[1]
_SHORT = re.compile(r"\[`hh\.([\w.]+)`\]\[\]")
_BARE = re.compile(r"\[`(\w+)`\]\[\]")


def _resolve(text: str, module: str = "hhjax") -> str:
    """[`hh.X`][] as a reference to hhjax.X, and [`X`][] as one to X of the same module."""
    text = _SHORT.sub(r"[`hh.\1`][hhjax.\1]", text)
    return _BARE.sub(rf"[`\1`][{module}.\1]", text)


class References(griffe.Extension):
    """Cross-references in docstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring:
            obj.docstring.value = _resolve(obj.docstring.value, obj.module.path)


def on_page_markdown(markdown: str, page, **kwargs) -> str:
    """Cross-references in pages, entries for what a package re-exports and, in `api/more.md`, for
    every public name that has none elsewhere; what the command line says of itself."""
    markdown = re.sub(r"^::: help ([\w-]+)$", lambda m: _help(m[1]), markdown, flags=re.MULTILINE)
    if page.file.src_uri == "api/more.md":
        markdown += "".join(f"\n::: hhjax.{name}\n" for name in _undocumented())
    markdown = re.sub(r"^::: hhjax\.(\w+)$", lambda m: _with_exports(m[1]), markdown, flags=re.MULTILINE)
    return _resolve(markdown)


def _exports(*path: str) -> list[str]:
    """What a module re-exports, one by one as `from ._x import Y as Y`."""
    module = _ROOT.joinpath("hhjax", *path)
    found = [module / "__init__.py", module.with_suffix(".py")]
    tree = ast.parse(next((file.read_text() for file in found if file.exists()), ""))
    return [
        name.asname for n in tree.body if isinstance(n, ast.ImportFrom) for name in n.names if name.asname
    ]


def _with_exports(name: str) -> str:
    return "\n\n".join([f"::: hhjax.{name}", *(f"::: hhjax.{name}.{export}" for export in _exports(name))])


def _help(command: str) -> str:
    """What `--help` prints after a command."""
    from hhjax._cli import make_parser

    with mock.patch.dict(os.environ, COLUMNS="100", NO_COLOR="1"):
        return f"```text\n{make_parser()[1][command].format_help()}```"


def _undocumented() -> list[str]:
    pages = "\n".join(path.read_text() for path in (_ROOT / "docs" / "api").glob("*.md"))
    named = set(re.findall(r"^::: hhjax\.(\w+)", pages, re.MULTILINE))
    named |= {export for name in named for export in _exports(name)}
    shown = lambda name: name in named or (_exports(name) and named.issuperset(_exports(name)))
    return [name for name in _exports() if not shown(name)]
