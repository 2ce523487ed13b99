"""Checks a built site: nothing of it is elsewhere, every reference leads somewhere, and formulas are
where docs/formulas.js looks for them."""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

TEX = re.compile(r"\$[^$\n]*[\\^_{][^$\n]*\$|\\[()\[\]]")
REFERENCE = re.compile(r"\]\[[\w.]*\]?")
RENDERED = {"arithmatex", "jp-RenderedMarkdown"}
LITERAL = {"code", "pre", "script", "style", "clipboard-copy-txt"}
EMPTY = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


class Page(HTMLParser):
    def __init__(self, path: Path):
        super().__init__()
        self.open, self.ids, self.wanted, self.loaded, self.raw = [], set(), [], [], []
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        has = {name: value or "" for name, value in attrs}
        self.ids |= {has[key] for key in ("id", "name") if key in has}
        if tag == "a" and has.get("href", "").startswith("#"):
            self.wanted.append(has["href"][1:])
        if tag in ("script", "img", "iframe") or has.get("rel") in ("stylesheet", "icon"):
            self.loaded += [has[key] for key in ("src", "href") if key in has]
        if tag not in EMPTY:
            kinds = {tag, *has.get("class", "").split()}
            self.open.append((tag, bool(kinds & (RENDERED | LITERAL))))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if not any(quiet for _, quiet in self.open):
            self.raw += TEX.findall(data) + REFERENCE.findall(data)


def faults(path: Path, site: Path) -> list[str]:
    page = Page(path)
    found = [f"left as it is written: {x}" for x in page.raw]
    found += [f"no place #{x}" for x in page.wanted if x and unquote(x) not in page.ids]
    for url in page.loaded:
        parts = urlsplit(url)
        folder = site if parts.path.startswith("/") else path.parent
        here = parts.scheme == "data" or (
            not parts.netloc and (folder / unquote(parts.path.lstrip("/"))).exists()
        )
        found += [] if here else [f"not in the site: {url}"]
    return found


site = Path(sys.argv[1])
pages = sorted(site.rglob("*.html"))
wrong = [f"{path.relative_to(site)}: {fault}" for path in pages for fault in faults(path, site)]
print(*wrong, f"{len(pages)} pages, {len(wrong)} faults", sep="\n")
sys.exit(bool(wrong) or not pages)
