"""Convert formulas to MathML during the build, so that the pages work offline.

LaTeX of the ``math`` role and directive goes through latex2mathml.  What it leaves to the
browser and browsers that follow MathML Core do not do is done here: letters of another
alphabet become the Unicode letters themselves, and spaces are those of TeX.
"""

import re
from html import unescape
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

#: mathvariant -> code points of its A, a and 0
ALPHABETS = {
    "script": (0x1D49C, 0x1D4B6, None),
    "double-struck": (0x1D538, 0x1D552, 0x1D7D8),
    "bold": (0x1D400, 0x1D41A, 0x1D7CE),
}
#: letters with code points outside the alphabets
EARLIER = {
    "script": dict(zip("BEFHILMRego", "ℬℰℱℋℐℒℳℛℯℊℴ", strict=True)),
    "double-struck": dict(zip("CHNPQRZ", "ℂℍℕℙℚℝℤ", strict=True)),
    "bold": {},
}
LETTER = re.compile(r'<m([in]) mathvariant="([a-z-]+)">([^<]*)</m[in]>')
PRIME = "<mi>&#x0203[234];</mi>"
FUNCTION = "<mi>[a-z]{2,}</mi>"
THIN = '<mspace width="0.17em"/>'
#: corrections of spacing: names of functions, slashes, bars, primes
SPACES = [
    (r"<mo>([a-z]{2,})</mo>", r"<mi>\1</mi>"),
    (
        rf"(?<!<msub>)(?<!<msup>)({FUNCTION})(?!<mo[^>]*>(?:&#x00028;|\()|</m)",
        rf"\1{THIN}",
    ),
    (rf"(</m(?:i|n|sub|sup|over|frac)>|&#x00029;</mo>)({FUNCTION})", rf"\1{THIN}\2"),
    (r"<mo>(/|&#x0002F;)</mo>", r'<mo lspace="0" rspace="0">\1</mo>'),
    (
        r'<mo stretchy="false">(\||&#x0007C;)</mo>',
        r'<mo stretchy="false" lspace="0" rspace="0">\1</mo>',
    ),
    (rf"<msup>(<mi>[^<]*</mi>)({PRIME})</msup>", r"<mrow>\1\2</mrow>"),
    (
        r"<msubsup>(<mi>[^<]*</mi>)(<m[in]>[^<]*</m[in]>|<mrow>(?:(?!</?mrow>).)*</mrow>)"
        rf"({PRIME})</msubsup>",
        r"<msub><mrow>\1\3</mrow>\2</msub>",
    ),
]


def _letter(match: re.Match[str]) -> str:
    kind, variant, text = match[1], match[2], unescape(match[3])
    if variant not in ALPHABETS:
        return match[0]
    capital, small, digit = ALPHABETS[variant]

    def other(c: str) -> str:
        if c in EARLIER[variant]:
            return EARLIER[variant][c]
        for first, start in (("A", capital), ("a", small), ("0", digit)):
            size = 10 if first == "0" else 26
            if start is not None and 0 <= ord(c) - ord(first) < size:
                return chr(start + ord(c) - ord(first))
        return c

    return f"<m{kind}>{''.join(map(other, text))}</m{kind}>"


def to_mathml(latex: str, display: str) -> str:
    """Return a ``<math>`` element.

    Raises
    ------
    ValueError
        If something of the LaTeX is left over, which would be printed as it stands.
    """
    mathml: str = LETTER.sub(_letter, convert(latex, display=display))
    for found, instead in SPACES:
        mathml = re.sub(found, instead, mathml)
    words = re.sub(r"<[^>]*>", " ", mathml)
    if "\\" in words or "<mi>&</mi>" in mathml or "{" in re.sub(r"&[^;]*;", "", words):
        raise ValueError(f"latex2mathml does not know all of: {latex}")
    return mathml.replace("<math ", '<math class="formula" ', 1)


def visit_inline(self: Any, node: nodes.math) -> None:
    """Write an inline formula."""
    self.body.append(to_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.math_block) -> None:
    """Write a displayed formula, which can be scrolled if it is wider than the page."""
    self.body.append(self.starttag(node, "div", CLASS="math-block"))
    self.body.append(to_mathml(node.astext(), "block"))
    self.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the renderer ``html_math_renderer = "mathml"``."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
