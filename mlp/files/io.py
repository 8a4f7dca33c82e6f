"""Writing and reading a file: a header of JSON, and the arrays it refers to.

`mlp.files.container` has the layout of the bytes, `mlp.files.encoding` the values that a
file may hold.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from mlp import __version__
from mlp.files import container
from mlp.files.encoding import BadExternal, Codec, Decoder, Encoder

__all__ = ["NoSuchPart", "read", "write"]


class NoSuchPart(ValueError):
    """The file is valid, but doesn't hold the part that was asked for."""


def write(path: Any, encoder: Encoder, content: Any, **more: Any) -> None:
    """Write a file.

    Parameters
    ----------
    path : str or path-like
        A file that is there already is replaced when the new one is complete.
    encoder : Encoder
        Has made `content`.
    content : JSON
    **more : JSON
        Further entries of the header.
    """
    header = {
        "written_by": f"mlp {__version__}",
        "outside": encoder.external,
        "content": content,
        **more,
    }
    container.write(path, header, encoder.arrays)


def read(
    path: Any,
    codecs: Mapping[str, Codec],
    external: dict[str, Any],
    *,
    part: Callable[[Any], Any] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """The value in a file, and the file's header with the decoded "run" of a checkpoint.

    Parameters
    ----------
    path : str or path-like
    codecs : mapping of str to Codec
        Codecs of the classes that the file may hold.
    external : dict
        At least the values that the file asks for.
    part : callable, optional
        ``content -> JSON`` of the part of the content that is wanted; external values
        that only the rest asks for need not be given.

    Raises
    ------
    ValueError
        If the file is not one of ours, truncated, altered, of a newer format, or holds
        values that don't fit together; or if `external` lacks a value or holds one that
        can't be used.
    OSError
        If the file can't be read.
    """
    header, arrays = container.read(path)
    try:
        content = header["content"]
        asked = dict(header["outside"])
        if part is not None:
            content = part(content)
            asked = {name: asked[name] for name in _external_names(content)}
    except NoSuchPart as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:  # whoever can compute a checksum can write anything
        raise ValueError(f"{path} is not a valid file: {error}") from error
    _check_external(path, asked, external)
    decoder = Decoder(arrays, external, codecs)
    try:
        value = decoder(content)
        if part is None:
            header["run"] = decoder(header.get("run"))
            decoder.finish()
    except ImportError:  # of an estimator's module
        raise
    except BadExternal as error:
        raise ValueError(f"{path}: {error}") from error
    except Exception as error:
        raise ValueError(f"{path} is not a valid file: {error}") from error
    return value, header


def _external_names(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "outside" in node:
            yield node["outside"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _external_names(child)


def _check_external(path: Any, asked: dict[str, Any], given: dict[str, Any]) -> None:
    if missing := {k: v for k, v in asked.items() if k not in given}:
        names = ", ".join(f"{name} ({what})" for name, what in missing.items())
        call = ", ".join(f"{name}=..." for name in missing)
        raise ValueError(
            f"{path} doesn't hold {names}, which is not data; give it: "
            f"load(path, {call})"
        )
