"""Tables of the guide that are made from tables of the package: the directive
``activation-table``."""

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from mlp.network.activations import ACTIVATIONS, Entry

HEAD = """\
.. list-table::
   :header-rows: 1
   :widths: 20 18 34 28

   * - name
     - parameters
     - :math:`f(z)`
     - :math:`f'(z)`
"""


def row(name: str, entry: Entry) -> str:
    """The row of an activation, as reStructuredText."""
    parameters = (f"``{what}`` {value:.5g}" for what, value in entry.parameters)
    derivative = entry.derivative and f":math:`{entry.derivative}`"
    cells = [
        f"``{name}``",
        ", ".join(parameters),
        f":math:`{entry.formula}`",
        " ".join(filter(None, [derivative, entry.remark])),
    ]
    return "   * - " + "\n     - ".join(cells) + "\n"


def activation_table() -> str:
    """All activations, as reStructuredText."""
    return HEAD + "".join(row(*item) for item in ACTIVATIONS.items())


class ActivationTable(SphinxDirective):
    """``.. activation-table::`` without arguments."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(__file__)
        return self.parse_text_to_nodes(activation_table())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("activation-table", ActivationTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
