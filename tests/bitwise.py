"""Bitwise equality of estimators, networks and arrays."""

import numpy as np

__all__ = ["same"]


def same(a, b):
    """Whether two fitted things are equal to the bit, types included."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        if a.dtype.kind == "O":
            return a.shape == b.shape and same(a.tolist(), b.tolist())
        return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, np.random.RandomState):
        return same(a.get_state(legacy=False), b.get_state(legacy=False))
    if isinstance(a, float):
        return a == b or (a != a and b != b)
    if hasattr(a, "__dict__") and not callable(a):
        left, right = (o.__getstate__() for o in (a, b))
        return left.keys() == right.keys() and all(
            same(left[k], right[k]) for k in left
        )
    return a == b
