"""Line breaks: allowed after underscores of long names, not inside "[S 65.31]"."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

#: names longer than this may break
LONG = 24


class Breaks(SphinxPostTransform):
    """Keep references to sources on one line, and allow breaks in long names."""

    default_priority = 900
    formats = ("html",)

    def run(self, **kwargs: Any) -> None:
        for text in list(self.document.findall(nodes.Text)):
            parent = text.parent
            if isinstance(parent, nodes.literal):
                if len(text) > LONG and "_" in text:
                    parts = re.split(r"(?<=[_/:])(?=\w)", text)
                    broken = [nodes.Text(parts[0])]
                    for part in parts[1:]:
                        broken += [
                            nodes.raw("", "<wbr>", format="html"),
                            nodes.Text(part),
                        ]
                    parent.replace(text, broken)
            elif "[" in text and not isinstance(parent, nodes.literal_block):
                held = re.sub(
                    r"\[[SLBGO][^\]]*\]",
                    lambda m: re.sub(r"(?<=[^;,]) ", "\N{NO-BREAK SPACE}", m[0]),
                    text,
                )
                if held != text:
                    parent.replace(text, nodes.Text(held))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_post_transform(Breaks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
