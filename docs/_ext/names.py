"""Names of the package in pages: the role ``has``.

``:has:`mlp.Network.forward``` is a link to the name, and
``:has:`mlp.MLPClassifier(dropout)``` a link to the class of the parameter.  A name that
does not exist causes a warning, so that pages cannot refer to names that were renamed or
removed.
"""

import re
from importlib import import_module
from inspect import signature
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)


def exists(name: str) -> bool:
    """Return whether a dotted name exists, including the parameter at its end, if any.

    ``mlp.Network.forward``, or ``mlp.MLPClassifier(dropout)``.
    """
    path, _, parameter = name.rstrip(")").partition("(")
    parts = path.split(".")
    for n in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:n]))
        except ImportError:
            continue
        for part in parts[n:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return not parameter or parameter in signature(found).parameters
    return False


class Has(SphinxRole):
    """A name of the package, linked to its description."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        name = self.text
        path, _, parameter = name.rstrip(")").partition("(")
        # from the class on, or a function's own name
        shown = parameter or re.sub(r"^([a-z_]+\.)+(?=[A-Z])|^mlp\.", "", path)
        literal = nodes.literal(shown, shown, classes=["xref", "py"])
        if not exists(name):
            logger.warning("mlp has no %s", name, location=self.get_location())
            return [literal], []
        link = pending_xref(
            "", literal, refdomain="py", reftype="obj", reftarget=path, refwarn=False
        )
        link["refdoc"] = self.env.docname
        return [link], []


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role."""
    app.add_role("has", Has())
    return {"parallel_read_safe": True, "parallel_write_safe": True}
