"""What is wrong with a folder of HTML pages: the links and images that builders do not look at."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {  # what a browser fetches without being asked
    "img": ("src", "srcset"),
    "source": ("src", "srcset"),
    "script": ("src",),
    "iframe": ("src",),
    "video": ("src", "poster"),
    "audio": ("src",),
    "embed": ("src",),
    "object": ("data",),
    "image": ("href", "xlink:href"),
    "input": ("src",),
}
FETCHED = {"stylesheet", "icon", "preload", "prefetch", "preconnect", "dns-prefetch", "modulepreload", "manifest"}


class Page(HTMLParser):
    """The ids of a page, where its links lead, and what it loads."""

    def __init__(self, path: Path):
        super().__init__()
        self.ids, self.links, self.loads = {""}, list[str](), list[str]()
        self.in_style = False
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and FETCHED & set(given.get("rel", "").split()):
            self.loads.append(given["href"])
        for name in LOADED.get(tag, ()):
            several = given.get(name, "").split(",") if name == "srcset" else [given.get(name, "")]
            self.loads += [part.split()[0] for part in several if part.strip()]
        if "style" in given:
            self.loads += addresses(given["style"])
        self.in_style = tag == "style"
        if tag == "meta" and given.get("http-equiv", "").lower() == "refresh":
            self.loads.append(given["content"].partition("url=")[2])
        if "mermaid" in given.get("class", "").split():
            self.loads.append("https://unpkg.com/mermaid")  # the theme fetches it for such a block

    def handle_data(self, data: str) -> None:
        if self.in_style:
            self.loads += addresses(data)


def addresses(css: str) -> list[str]:
    """What a style sheet loads."""
    found = re.findall(r"""url\(\s*(?:"([^"]*)"|'([^']*)'|([^)\s]*))\s*\)|@import\s+["']([^"']+)""", css)
    return [address for groups in found for address in groups if address]


def faults(site: Path) -> list[str]:
    """A line for each missing file, remote address, dead link or anchor, and page that no page leads to."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    found, reached, todo = [], set[Path](), [site / "index.html"]

    def target(path: Path, address: str) -> tuple[Path, str]:
        parts = urlsplit(address)
        where = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        return (where / "index.html" if where.is_dir() else where), unquote(parts.fragment)

    for path, page in pages.items():
        name = path.relative_to(site)
        for address in page.loads:
            if address.startswith("data:"):
                continue
            if urlsplit(address).netloc:
                found.append(f"{name}: loads {address}")
            elif path.name != "404.html" and not target(path, address)[0].is_file():
                found.append(f"{name}: {address} is missing")
    for path in sorted(site.rglob("*.css")):
        for address in addresses(path.read_text(encoding="utf-8")):
            if urlsplit(address).netloc:
                found.append(f"{path.relative_to(site)}: loads {address}")
    while todo:
        path = todo.pop()
        if path in reached:
            continue
        reached.add(path)
        for address in pages[path].links:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            there, anchor = target(path, address)
            if not there.is_file():
                found.append(f"{path.relative_to(site)}: {address} leads nowhere")
            elif there in pages:
                todo.append(there)
                if anchor not in pages[there].ids:
                    found.append(f"{path.relative_to(site)}: {address} has no such anchor")
    orphans = [path for path in pages if path not in reached and path.name != "404.html"]
    return found + [f"{path.relative_to(site)}: no page leads there" for path in orphans]
