"""Whether the package has a name; without Sphinx, for tests too."""

from importlib import import_module
from inspect import signature
from typing import Any


def exists(name: str) -> bool:
    """Whether a dotted name can be imported, with the parameter it may end in.

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
