"""Links in the documentation work on GitHub and on the site; the navigation is complete."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
OUTSIDE = [ROOT / f"{name}.md" for name in ("CODE_OF_CONDUCT", "CONTRIBUTING", "README", "SECURITY")]
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")
FENCE = re.compile(r"^ *```.*?^ *```$", re.M | re.S)


def links(page: Path) -> list[tuple[str, str]]:
    """Return the path and the anchor of every relative link."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return [(path, anchor) for path, anchor in LINK.findall(text) if "://" not in path]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site derive them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.M)
    explicit = {anchor for heading in headings for anchor in re.findall(r"\{ ?#([\w-]+) ?\}", heading)}
    plain = (re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings)
    return explicit | {re.sub(r"\s+", "-", heading) for heading in plain}


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_point_to_pages_and_headings(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {path}"
        if DOCS in page.parents:
            assert target.is_relative_to(DOCS), f"{page.name}: {path} is not on the site"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {path}#{anchor}"


def test_navigation_has_every_page() -> None:
    # Only the site's generator knows the tag for the mermaid fence.
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").replace("!!python/name:", "")
    shown = set(re.findall(r"[\w/-]+\.md", str(yaml.safe_load(text)["nav"])))
    reached = {
        (page.parent / path).resolve().relative_to(DOCS).as_posix()
        for page in PAGES
        if page.relative_to(DOCS).as_posix() in shown
        for path, _ in links(page)
        if path.endswith(".md")
    }
    assert {page.relative_to(DOCS).as_posix() for page in PAGES} <= shown | reached
