"""Sphinx configuration; build with ``python -m sphinx -W -b html docs
docs/_build/html``."""

import re
import sys
from pathlib import Path

from sphinx.domains.python import PyObject

import mlp

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "mlp"
copyright = "The mlp developers, BSD-3-Clause"
version = release = mlp.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "breaks",
    "mathml",
    "names",
    "tables",
]
exclude_patterns = ["_build", "_ext"]
default_role = "py:obj"  # a link if the name exists, else code
highlight_language = "python"

autodoc_member_order = "bysource"
autodoc_typehints = "none"  # types are in the docstrings
napoleon_google_docstring = False
napoleon_use_param = False  # types are words, not links
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = f"mlp {release}"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}


def prepare_docstring(app, what, name, obj, options, lines):
    """Escape underscores in types and the colon after a property's summary.

    Otherwise ``(n_features_in_,)`` would become a link to "n_features_in", and the words
    before the colon a type.
    """
    if what == "property":
        lines[:1] = [line.replace(": ", "; ", 1) for line in lines[:1]]
    for i, line in enumerate(lines):
        what_it_is, colon, kind = line.partition(" : ")
        if colon and re.fullmatch(r"[\w, *]+", what_it_is):
            lines[i] = what_it_is + colon + re.sub(r"(?<=\w)_(?!\w)", r"\_", kind)


def setup(app):
    """Run `prepare_docstring` before napoleon (priority 500), and set a heading."""
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    for field in PyObject.doc_field_types:
        if field.name == "variable":
            field.label = "Attributes"
