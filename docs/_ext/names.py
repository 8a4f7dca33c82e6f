"""Names of the package in pages: the role ``has`` and the directive ``when``.

``:has:`mlp.Network.forward``` is a link, ``:has:`mlp.MLPClassifier(dropout)``` one to the
class whose parameter it is.  A name that is not there must be one of ``planned_names`` in
conf.py, and the page says so; any other is a warning, so that pages cannot name what was
renamed or removed.

``.. when:: mlp.load`` includes its content if there is such a name.
"""

import re

from docutils import nodes
from exists import exists
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

logger = logging.getLogger(__name__)


class Has(SphinxRole):
    """A name of the package, linked where it is described."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name = self.text
        path, _, parameter = name.rstrip(")").partition("(")
        # from the class on, or a function's own name
        shown = parameter or re.sub(r"^([a-z_]+\.)+(?=[A-Z])|^mlp\.", "", path)
        literal = nodes.literal(shown, shown, classes=["xref", "py"])
        if not exists(name):
            if name not in self.config.planned_names:
                logger.warning("mlp has no %s", name, location=self.get_location())
            return [literal, nodes.Text(" (planned)")], []
        link = pending_xref(
            "", literal, refdomain="py", reftype="obj", reftarget=path, refwarn=False
        )
        link["refdoc"] = self.env.docname
        return [link], []


class When(SphinxDirective):
    """Content for versions that have a name."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        if not exists(self.arguments[0]):
            return []
        return self.parse_content_to_nodes(allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register role, directive and setting."""
    app.add_config_value("planned_names", [], "env", list)
    app.add_role("has", Has())
    app.add_directive("when", When)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
