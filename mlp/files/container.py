"""The bytes of a model file: numbers, a JSON header, arrays, a checksum.

::

    0    8   magic: b"\\x89mlp\\r\\n\\x1a\\n", which a transfer as text would change
    8    8   version of the format
    16   8   bytes of the whole file
    24   8   bytes of the header
    32   …   header: JSON in ASCII; its "arrays" lists [dtype, shape] of each array
    …    …   arrays in that order, each from a multiple of 64 on, row-major
    -32  32  SHA-256 of everything before it

All numbers are little-endian.  Nothing is compressed, and reading takes no more memory
than the size of the file; nothing in it is ever executed.
"""

import errno
import hashlib
import io
import json
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FORMAT",
    "descriptor_of",
    "read",
    "takes_bytes",
    "write",
    "write_atomically",
]

Array = NDArray[Any]

#: version of the format, raised when older readers would misunderstand a file
FORMAT = 1

MAGIC = b"\x89mlp\r\n\x1a\n"
PROLOGUE = 32
DIGEST = 32
ALIGNMENT = 64

#: names of a process's open files, and the descriptors of those that have no number
OPENED = re.compile(r"/dev/std(out|err)|/(?:dev|proc/self)/fd/([0-9]{1,9})")
STREAMS = {"out": 1, "err": 2}

#: names of this process's temporary files that are being written
_under_way: set[str] = set()
_counter = count()

#: bytes that an element of each kind may have; None: any number (of code points)
ITEM_SIZES: dict[str, tuple[int, ...] | None] = {
    "b": (1,),
    "i": (1, 2, 4, 8),
    "u": (1, 2, 4, 8),
    "f": (2, 4, 8),
    "c": (8, 16),
    "S": None,
    "U": None,
}


# -- writing --


def write(path: Any, header: dict[str, Any], arrays: Sequence[Array]) -> None:
    """Write a file; one that is there already is replaced when the new one is complete.

    Parameters
    ----------
    path : str or path-like
    header : dict
        Values of JSON; "arrays" is added.
    arrays : sequence of ndarray
        Arrays of numbers, truth values or strings.

    Raises
    ------
    ValueError
        For an array of another dtype.
    OSError
    """
    arrays = [_portable(array) for array in arrays]
    header = {**header, "arrays": [[a.dtype.str, list(a.shape)] for a in arrays]}
    write_atomically(Path(path), lambda file: file.writelines(_pieces(header, arrays)))


def _portable(array: Array) -> Array:
    """The array in row-major order, little-endian."""
    sizes = ITEM_SIZES.get(array.dtype.kind, ())
    if sizes is not None and array.dtype.itemsize not in sizes:
        raise ValueError(f"an array of dtype {array.dtype} can't be written to a file")
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _pieces(header: dict[str, Any], arrays: Sequence[Array]) -> Iterator[Any]:
    text = json.dumps(header, allow_nan=False, separators=(",", ":")).encode("ascii")
    end = PROLOGUE + len(text)
    for array in arrays:
        end = _aligned(end) + array.nbytes
    numbers = (FORMAT, end + DIGEST, len(text))
    hashed = hashlib.sha256()
    at = 0
    prologue = MAGIC + b"".join(n.to_bytes(8, "little") for n in numbers)
    for piece in (prologue, text):
        hashed.update(piece)
        yield piece
        at += len(piece)
    for array in arrays:
        padding = bytes(_aligned(at) - at)
        for part in (padding, array.reshape(-1).view(np.uint8).data):
            hashed.update(part)
            yield part
            at += len(part)
    yield hashed.digest()


def _aligned(at: int) -> int:
    return -(-at // ALIGNMENT) * ALIGNMENT


def write_atomically(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    """Call `write(file)` on a temporary binary file that then becomes `path`.

    An exception leaves `path` as it was and no other file.  A process that is killed
    leaves its temporary file, which the next process to write `path` removes.  The bytes
    are on the disk before the file is renamed: not even a power cut leaves half a file.

    Parameters
    ----------
    path : Path
        Path of the file.  If it is a link, the file it points to is replaced.  A pipe, a
        device or /dev/stdout is written to when all bytes are known.
    write : callable
        Function that writes to the binary file given to it.
    """
    if takes_bytes(path):
        _write_to(path, write)
        return
    path = Path(os.path.realpath(path))
    if path.is_symlink():  # a link to itself
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    name = f".{path.name}.{os.getpid()}.{next(_counter)}.tmp"
    temporary = path.with_name(name)
    _under_way.add(name)
    try:
        _sweep(path)
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        _under_way.discard(name)
    _sync_folder(path.parent)


def takes_bytes(path: Path) -> bool:
    """Whether `path` is a pipe, a device or an open file, which can't be replaced."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) or descriptor_of(path) is not None


def descriptor_of(path: Path) -> int | None:
    """The descriptor that `path` is a name of, such as 1 for /dev/stdout; else None."""
    match = OPENED.fullmatch(os.path.abspath(path))
    if match is None:
        return None
    return STREAMS[match[1]] if match[1] else int(match[2])


def _write_to(path: Path, write: Callable[[IO[bytes]], Any]) -> None:
    whole = io.BytesIO()  # a writer may ask for its position, which pipes lack
    write(whole)
    descriptor = descriptor_of(path)
    with open(path if descriptor is None else os.dup(descriptor), "wb") as file:
        file.write(whole.getbuffer())


def _sweep(path: Path) -> None:
    """Remove the temporary files of killed processes that were writing `path`."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.\d+\.tmp")
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            match = pattern.fullmatch(entry.name)
            if match is None or entry.name in _under_way:
                continue
            # an earlier process may have had the number of this one
            process = int(match[1])
            if process == os.getpid() or not _is_running(process):
                os.unlink(entry.path)


def _is_running(process: int) -> bool:
    if os.name != "posix":  # os.kill would end the process there
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass
    return True


def _sync_folder(folder: Path) -> None:
    """Bring the new name to the disk too, if the system can open folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# -- reading --


def read(path: Any) -> tuple[dict[str, Any], list[Array]]:
    """The header and the arrays (read-only) of a file, checked.

    Raises
    ------
    ValueError
        If the file is not one of ours, is truncated or altered, or of a newer format.
    OSError
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(PROLOGUE)
        if start[: len(MAGIC)] != MAGIC[: len(start)] or not start:
            raise ValueError(f"{path} is not a file of mlp's")
        version, expected, header_size = (
            int.from_bytes(start[at : at + 8], "little") for at in (8, 16, 24)
        )
        if version > FORMAT and len(start) == PROLOGUE:
            raise ValueError(
                f"{path} has format version {version}, this mlp reads up to {FORMAT}; "
                "a newer mlp can load it"
            )
        if len(start) < PROLOGUE or size < expected:
            raise ValueError(
                f"{path} is truncated: {size} bytes of {expected or 'more'}"
            )
        if size > expected or header_size > expected - PROLOGUE - DIGEST or version < 1:
            raise ValueError(f"{path} is damaged: its sizes don't agree")
        file.seek(0)
        data = file.read(size)
    end = len(data) - DIGEST
    if len(data) != size or _digest(data, end) != data[end:]:
        raise ValueError(f"{path} is damaged or was altered: its checksum is wrong")
    try:
        header = json.loads(data[PROLOGUE : PROLOGUE + header_size])
        arrays = _arrays(data, PROLOGUE + header_size, end, header.pop("arrays"))
    except Exception as error:  # whoever can compute a checksum can write anything
        raise ValueError(f"{path} is not a valid file: {error}") from error
    return header, arrays


def _digest(data: bytes, end: int) -> bytes:
    return hashlib.sha256(memoryview(data)[:end]).digest()


def _arrays(data: bytes, at: int, end: int, listed: Any) -> list[Array]:
    """Views into `data`, each within it."""
    arrays = []
    for name, shape in listed:
        dtype = _dtype(name)
        if not all(type(n) is int and n >= 0 for n in shape):
            raise ValueError(f"{shape} is not a valid shape")
        at = _aligned(at)
        size = prod(shape) * dtype.itemsize
        if size > end - at:
            raise ValueError(f"an array of shape {shape} is larger than the file")
        array = np.frombuffer(data, dtype, prod(shape), at).reshape(shape)
        _check_items(array)
        arrays.append(array)
        at += size
    if at != end:
        raise ValueError(f"{end - at} bytes are not part of an array")
    return arrays


def _dtype(name: str) -> np.dtype[Any]:
    """The dtype of that name, if arrays in files may have it."""
    match = re.fullmatch(r"[<|]([a-zA-Z])([1-9][0-9]{0,9})", name)
    if match is None or match[1] not in ITEM_SIZES:
        raise ValueError(f"{name!r} is not a dtype of arrays in files")
    dtype = np.dtype(name)
    sizes = ITEM_SIZES[match[1]]
    if sizes is not None and dtype.itemsize not in sizes:
        raise ValueError(f"{name!r} is not a dtype of arrays in files")
    return dtype


def _check_items(array: Array) -> None:
    """Check what NumPy takes for granted: truth values are 0 or 1, characters Unicode."""
    kind = array.dtype.kind
    if kind == "b" and array.size and array.view(np.uint8).max() > 1:
        raise ValueError("a truth value is neither 0 nor 1")
    if kind == "U" and array.size:
        points = np.ascontiguousarray(array).reshape(-1).view("<u4")
        if points.max() > 0x10FFFF:
            raise ValueError("a string holds a code point beyond Unicode")
