"""What the site needs besides mkdocs: `hh.` in cross-references, API entries for all public names,
the constructors of classes, and whole lists of contents."""

import ast
import functools
import importlib
import inspect
import os
import re
from pathlib import Path
from typing import Any
from unittest import mock

import griffe
from mkdocs.structure.toc import get_toc

_ROOT = Path(__file__).parents[1]
_SHORT = re.compile(r"\[`hh\.([\w.]+)`\]\[\]")
_BARE = re.compile(r"\[`(\w+)`\]\[\]")


def _resolve(text: str, module: str = "hhjax") -> str:
    """[`hh.X`][] as a reference to hhjax.X, and [`X`][] as one to X of the same module."""
    text = _SHORT.sub(r"[`hh.\1`][hhjax.\1]", text)
    return _BARE.sub(rf"[`\1`][{module}.\1]", text)


_FOR_DEVELOPERS = {
    "AbstractChannel": "",
    "AbstractCoupling": "",
    "AbstractReducer": "",
    "AlphaBeta": "",
    "Electrode": "",
    "GHKChannel": "",
    "GradedSynapse": "",
    "InfTau": "",
    "Ion": "",
    "MarkovChannel": "",
    "Network": "ranges index init",
    "Neuron": "",
    "Stimulus": "",
    "Synapse": "",
    "connect": "all_to_all one_to_one random ring by_distance from_pairs from_dense Sparse",
    "steppers.AbstractMaruyama": "",
    "steppers.AbstractStepper": "",
    "synapses.AMPA": "",
    "synapses.NMDA": "",
    "synapses.SpikeSynapse": "",
    "synapses.TsodyksMarkram": "",
}
"""Classes whose members steppers call and kinds of one's own override, and the members that users call."""

_RESULTS = (
    "analysis Bootstrap Comparison Compartments Currents Extremes FeatureTable Fit Guess KeptSpikes "
    "NonFiniteError Posterior Profile Reference Saved Score Solution Sparse State Sweep"
).split()
"""Classes, and modules of classes, that nobody constructs by hand."""


class References(griffe.Extension):
    """Cross-references in docstrings."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring:
            obj.docstring.value = _resolve(obj.docstring.value, obj.module.path)


class Constructors(griffe.Extension):
    """The constructor of each class that users construct, with the fields that it inherits."""

    def on_class(self, *, cls: griffe.Class, **kwargs) -> None:
        if {cls.name, cls.path.split(".")[1]} & set(_RESULTS) or cls.name.startswith("Abstract"):
            cls.members.pop("__init__", None)
        elif "__init__" not in cls.members and not cls.path.startswith("hhjax._base"):
            real = getattr(importlib.import_module(cls.module.path), cls.name, None)
            fields = hasattr(real, "__dataclass_fields__") or hasattr(real, "_fields")
            if fields and not inspect.isabstract(real):
                parameters = inspect.signature(real).parameters.values()
                made = griffe.Parameters(*(_parameter(real, x) for x in parameters))
                cls.set_member("__init__", griffe.Function("__init__", parameters=made))


def _parameter(cls: type, x: inspect.Parameter) -> griffe.Parameter:
    kind = griffe.ParameterKind(x.kind.description)
    return griffe.Parameter(x.name, kind=kind, default=None if x.default is x.empty else _shown(cls, x))


def _shown(cls: type, x: inspect.Parameter) -> str:
    factory = getattr(cls, "__dataclass_fields__", {}).get(x.name)
    default = factory.default_factory() if repr(x.default) == "<factory>" else x.default
    if isinstance(default, float):
        return f"{default:.4g}" if len(repr(default)) > 8 else repr(default)
    return getattr(default, "__name__", repr(default)).replace("<lambda>", "...")


def on_page_markdown(markdown: str, page, **kwargs) -> str:
    """Cross-references in pages, entries for what a package re-exports and, in `api/more.md`, for
    every public name that has none elsewhere; what the command line says of itself."""
    markdown = re.sub(r"^::: help ([\w-]+)$", lambda m: _help(m[1]), markdown, flags=re.MULTILINE)
    if page.file.src_uri == "api/more.md":
        markdown += "".join(f"\n::: hhjax.{name}\n" for name in _undocumented())
    markdown = re.sub(r"^::: hhjax\.(\w+)$", lambda m: _with_exports(m[1]), markdown, flags=re.MULTILINE)
    markdown = re.sub(r"^::: hhjax\.([\w.]+)$", lambda m: _entry(m[1]), markdown, flags=re.MULTILINE)
    return _resolve(markdown)


def _entry(name: str) -> str:
    """A class with the members that users call, and the others below it, folded up."""
    if name not in _FOR_DEVELOPERS:
        return f"::: hhjax.{name}"
    cls = _package()[name]
    members = (cls.final_target if cls.is_alias else cls).members.values()
    members = [x for x in members if not x.is_alias and x.has_docstring]  # an alias is an import
    users = _FOR_DEVELOPERS[name].split()
    others = [x.name for x in members if not x.name.startswith("_") and x.name not in users]
    options = "        heading_level: 5\n            show_root_full_path: false"
    below = [f"    ::: hhjax.{name}.{x}\n        options:\n    {options}\n" for x in others]
    return "\n".join(
        [
            f"::: hhjax.{name}\n    options:\n      members: {users}\n",
            '??? abstract "For developers: what steppers call and kinds of your own override"\n',
            *below,
        ]
    )


@functools.cache
def _package() -> griffe.Module:
    return griffe.load("hhjax", search_paths=[_ROOT])


def on_page_content(html: str, page, **kwargs) -> None:
    """The whole contents of a notebook: mkdocs-jupyter leaves out the code in a heading."""
    if page.file.src_uri.endswith(".ipynb"):
        page.toc = get_toc(_nested(re.findall(r'<h([2-6]) id="([^"]+)">(.*?)<a class="anchor-link"', html)))


def _nested(headings: list[tuple[str, str, str]]) -> list[dict[str, Any]]:
    top: list[dict[str, Any]] = []
    for level, key, title in headings:
        token = {"level": int(level), "id": key, "name": re.sub("<[^>]+>", "", title), "children": []}
        within = top
        while within and within[-1]["level"] < token["level"]:
            within = within[-1]["children"]
        within.append(token)
    return top


def on_page_context(context: Any, page, **kwargs) -> None:
    """No entry in the contents for what is folded up; mkdocs-autorefs has read them by now."""
    for entry in (below for top in page.toc for below in top.children):
        users = _FOR_DEVELOPERS.get(entry.id.removeprefix("hhjax."))
        if users is not None:
            entry.children = [x for x in entry.children if x.id.rpartition(".")[2] in users.split()]
            for method in entry.children:
                method.children = []


def _exports(*path: str) -> list[str]:
    """What a module re-exports, one by one as `from ._x import Y as Y`."""
    module = _ROOT.joinpath("hhjax", *path)
    found = [module / "__init__.py", module.with_suffix(".py")]
    tree = ast.parse(next((file.read_text() for file in found if file.exists()), ""))
    return [
        name.asname for n in tree.body if isinstance(n, ast.ImportFrom) for name in n.names if name.asname
    ]


def _with_exports(name: str) -> str:
    path = lambda *parts: _package()[".".join(parts)].canonical_path
    elsewhere = [path(other) for other in _named() if other in _exports()]
    exports = [export for export in _exports(name) if path(name, export) not in elsewhere]
    return "\n\n".join([f"::: hhjax.{name}", *(f"::: hhjax.{name}.{export}" for export in exports)])


def _help(command: str) -> str:
    """What `--help` prints after a command."""
    from hhjax._cli import make_parser

    with mock.patch.dict(os.environ, COLUMNS="100", NO_COLOR="1"):
        return f"```text\n{make_parser()[1][command].format_help()}```"


def _named() -> set[str]:
    """The names that stand in a page of their own."""
    pages = "\n".join(path.read_text() for path in (_ROOT / "docs" / "api").glob("*.md"))
    return set(re.findall(r"^::: hhjax\.(\w+)", pages, re.MULTILINE))


def _undocumented() -> list[str]:
    named = _named() | {export for name in _named() for export in _exports(name)}
    shown = lambda name: name in named or (_exports(name) and named.issuperset(_exports(name)))
    return [name for name in _exports() if not shown(name)]
