"""Damaged, forged and foreign files: one ValueError each, that says so."""

import contextlib
import hashlib
import json
import pickle
import random

import numpy as np
import pytest
from small_data import make_data

import mlp
from mlp import MLPClassifier

X, Y = make_data()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.mlp"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The bytes of a file that has a bit of everything."""
    path = tmp_path_factory.mktemp("saved") / "model.mlp"
    model = MLPClassifier(
        (5, 5),
        max_iter=100,
        tol=1.0,
        batch_norm="all",
        standardize=True,
        dropout=0.2,
        early_stopping=True,
        random_state=np.random.RandomState(7),
    )
    model.fit(X, Y).save(path, training_state=True)
    return path.read_bytes()


def refusal(path, data):
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"model\.mlp") as caught:
        mlp.load(path)
    return str(caught.value)


def test_a_truncated_file_is_refused_wherever_it_ends(saved, path):
    ends = [*range(0, 200), *range(200, len(saved), 97), len(saved) - 1]
    for end in ends:
        assert "truncated" in refusal(path, saved[:end]) or end == 0


def test_a_changed_byte_is_noticed_wherever_it_is(saved, path):
    for at in [*range(0, 200), *range(200, len(saved), 61), len(saved) - 1]:
        for change in (1, 0x80):
            data = bytearray(saved)
            data[at] ^= change
            refusal(path, bytes(data))


def test_random_damage_is_noticed(saved, path):
    rng = random.Random(0)
    for _ in range(300):
        data = bytearray(saved)
        start = rng.randrange(len(data))
        end = min(len(data), start + rng.choice([1, 8, 500, 5000]))
        kind = rng.randrange(3)
        if kind == 0:
            data[start:end] = rng.randbytes(end - start)
        elif kind == 1:
            del data[start:end]
        else:
            data[start:start] = rng.randbytes(end - start)
        refusal(path, bytes(data))


def test_more_than_the_file_is_refused(saved, path):
    assert "damaged" in refusal(path, saved + b"\0")


def test_a_newer_format_is_named(saved, path):
    message = refusal(path, saved[:8] + (7).to_bytes(8, "little") + saved[16:])
    assert "format version 7" in message
    assert "up to 1" in message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"PK\3\4" + bytes(50),
        pickle.dumps([1]),
        bytes(1000),
        b"\x89PNG\r\n",
    ],
)
def test_files_of_others_are_refused(data, path):
    assert "is not a file of mlp's" in refusal(path, data)


def test_a_missing_file_and_a_folder_are_the_systems_errors(tmp_path):
    with pytest.raises(FileNotFoundError):
        mlp.load(tmp_path / "none.mlp")
    with pytest.raises(OSError):
        mlp.load(tmp_path)


def forged(data, change):
    """The file with a changed header, under a checksum that is right."""
    length = int.from_bytes(data[24:32], "little")
    old = 32 + length
    header = json.loads(data[32:old])
    header = change(header) or header
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    new = 32 + len(text)
    body = bytes(-new % 64) + data[old + -old % 64 : -32]
    size = new + len(body) + 32
    numbers = b"".join(n.to_bytes(8, "little") for n in (1, size, len(text)))
    data = data[:8] + numbers + text + body
    return data + hashlib.sha256(data).digest()


def network_of(header):
    return header["content"]["estimator"][2]["network_"]["Network"]


def test_a_forged_file_that_is_not_changed_loads(saved, path):
    path.write_bytes(forged(saved, lambda header: None))
    assert type(mlp.load(path)) is MLPClassifier


def put(where, *keys):
    """A change of a header: ``put(value, *keys)`` under the network's attributes."""

    def change(header):
        node = network_of(header)
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = where

    return change


def put_state(name, value):
    def change(header):
        header["content"]["estimator"][2][name] = value

    return change


def put_array(value):
    def change(header):
        header["arrays"][0] = value

    return change


def at_place(place):
    def change(header):
        header["content"]["estimator"][1]["random_state"]["RandomState"][1] = place

    return change


FORGERIES = {
    "layers that don't fit": put([4, 6, 5, 1], "layer_sizes", "tuple"),
    "layers beyond all memory": put([4, 10**15, 10**15, 1], "layer_sizes", "tuple"),
    "no layers": put([], "layer_sizes", "tuple"),
    "negative layers": put([4, -5, 5, 1], "layer_sizes", "tuple"),
    "layers that are not numbers": put(["4", 5, 5, 1], "layer_sizes", "tuple"),
    "statistics missing": put([None, None, None], "statistics"),
    "statistics swapped": lambda h: network_of(h)["statistics"].reverse(),
    "shift missing a feature": put([1.0], "input_shift"),
    "another dtype": put({"dtype": "<f4"}, "dtype"),
    "dropout of everything": put({"tuple": [0.0, 1.0, 0.5]}, "dropout"),
    "too many rates": put({"tuple": [0.0] * 9}, "dropout"),
    "an unknown activation": put(
        {"name": "eval", "parameters": []}, "output_activation"
    ),
    "an unknown attribute": put(1, "__class__"),
    "skips between unequal layers": put([1.0, 1.0, 1.0], "skip_scales"),
    "groups that don't add up": put({"tuple": [2]}, "groups"),
    "an array larger than the file": put_array(["<f8", [10**6]]),
    "an array larger than memory": put_array(["<f8", [10**9, 10**9, 10**9]]),
    "a negative shape": put_array(["<f8", [-1, -8]]),
    "a shape with nothing in it": put_array(["<f8", [0, 10**30]]),
    "strings without characters": put_array(["<U0", [10**12]]),
    "strings as wide as memory": put_array(["<U999999999", [1]]),
    "objects": put_array(["|O", [1]]),
    "a dtype with fields": put_array(["<f8,<f8", [1]]),
    "arrays left over": lambda h: network_of(h).update(params=[0.0]),
    "one array twice": lambda h: network_of(h).update(
        input_shift=network_of(h)["input_scale"]
    ),
    "an array that isn't there": put({"array": 99}, "params"),
    "parameters that are not an array": put("abc", "params"),
    "a class that isn't ours": lambda h: h["content"]["estimator"].__setitem__(
        0, "Popen"
    ),
    "an unknown kind": put_state("t_", {"os.system": "true"}),
    "two kinds at once": put_state("t_", {"tuple": [], "dict": []}),
    "a method replaced": put_state("predict", 5),
    "an unknown parameter": lambda h: h["content"]["estimator"][1].update(virus=1),
    "nested too deep": put_state("t_", json.loads("[" * 800 + "]" * 800)),
    "nested beyond JSON": lambda h: "[" * 10**5,
    "a number too long": lambda h: "1" * 10**5,
    "no object": lambda h: "[]",
    "no content": lambda h: {"outside": {}, "arrays": []},
    "no JSON": lambda h: "{",
    "a state that reads beyond itself": at_place(10**6),
    "a state at a negative place": at_place(-1),
    "objects of another number": put_state("t_", {"objects": [[10**9], [1]]}),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test_a_forgery_with_a_right_checksum_is_refused(change, saved, path):
    assert "is not a valid file" in refusal(path, forged(saved, change))


JUNK = [
    None,
    True,
    -1,
    0,
    10**30,
    1e300,
    "x",
    [],
    {},
    [[]],
    {"array": 0},
    {"tuple": []},
]


def test_random_forgeries_are_refused_or_harmless(saved, path):
    """Whatever stands in the header, loading and predicting survive it."""
    rng = random.Random(1)
    refused = 0
    for _ in range(400):

        def change(header):
            node = header
            while True:
                keys = list(node) if isinstance(node, dict) else range(len(node))
                key = rng.choice(keys)
                child = node[key]
                if (
                    not isinstance(child, dict | list)
                    or not child
                    or rng.random() < 0.1
                ):
                    node[key] = rng.choice(JUNK)
                    return
                node = child

        path.write_bytes(forged(saved, change))
        try:
            model = mlp.load(path)
        except ValueError as error:
            assert "model.mlp" in str(error)
            refused += 1
            continue
        for method in (model.predict_proba, model.__repr__, model.get_params):
            with contextlib.suppress(Exception):
                method(*([X] if method == model.predict_proba else []))
        with contextlib.suppress(Exception):
            model.set_params(early_stopping=False).partial_fit(X, Y)
    assert 100 < refused < 400
