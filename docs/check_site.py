"""Follow every link inside a built site; fail if a page, a file or an anchor is missing.

    python docs/check_site.py docs/_build/html

Links to other sites are only counted, so the check works offline. It also fails on formulas
that are still LaTeX, and on anything that a page would load from another site.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

#: attribute with the file that a tag loads when the page is opened
LOADS = {"img": "src", "script": "src", "link": "href", "iframe": "src"}
#: relations of <link> that refer to a page without loading it
NAMES = {"canonical", "index", "search", "next", "prev", "author", "copyright"}


class Page(HTMLParser):
    """Anchors, links, loaded files and remaining LaTeX of a page."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.links, self.loads, self.latex = set(), [], [], []
        self.code = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        """Record the anchors and links of the tag."""
        a = dict(attrs)
        self.anchors.update(v for k in ("id", "name") if (v := a.get(k)))
        if tag in ("pre", "code", "script", "style"):
            self.code += 1
        where = a.get(LOADS.get(tag, "href"))
        if where is None:
            return
        names = set((a.get("rel") or "").split()) & NAMES
        (self.loads if tag in LOADS and not names else self.links).append(where)

    def handle_endtag(self, tag):
        """Record the end of code."""
        if tag in ("pre", "code", "script", "style"):
            self.code -= 1

    def handle_data(self, data):
        """Search running text for LaTeX."""
        if not self.code and ("\\(" in data or "\\frac" in data or ":math:" in data):
            self.latex.append(data.strip()[:60])


def check(root):
    """Return the problems and the numbers of pages, internal and external links."""
    pages = {path.resolve(): Page(path) for path in sorted(root.rglob("*.html"))}
    problems, inside, outside = [], 0, 0
    for path, page in pages.items():
        here = path.relative_to(root)
        problems += [f"{here}: LaTeX left over: {text}" for text in page.latex]
        for link in page.links + page.loads:
            if urlsplit(link).scheme or link.startswith("//"):
                outside += 1
                if link in page.loads and not link.startswith("data:"):
                    problems.append(f"{here}: loads {link}")
                continue
            inside += 1
            file, anchor = urldefrag(link)
            file = unquote(urlsplit(file).path)
            target = (path.parent / file).resolve() if file else path
            if not target.is_file():
                problems.append(f"{here}: no file for {link}")
            elif (
                anchor
                and target in pages
                and unquote(anchor) not in pages[target].anchors
            ):
                problems.append(f"{here}: no anchor for {link}")
    return problems, len(pages), inside, outside


def main():
    """Check the site named on the command line."""
    if len(sys.argv) != 2 or not Path(sys.argv[1], "index.html").is_file():
        sys.exit(f"{__doc__.strip()}\n\nno index.html in {sys.argv[1:]}")
    problems, pages, inside, outside = check(Path(sys.argv[1]).resolve())
    print(f"{pages} pages, {inside} links inside, {outside} to other sites")
    print("\n".join(problems))
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
