"""The pages of docs/: their examples run, the map of the chapter is whole and true."""

import ast
import doctest
import re
from functools import cache
from inspect import signature
from pathlib import Path

import pytest

import mlp
from mlp import MLPClassifier, MLPRegressor
from mlp.network.activations import ACTIVATIONS
from mlp.network.initializers import INITIALIZERS
from mlp.network.losses import LOSSES
from mlp.training.full_batch import FULL_BATCH_SOLVERS
from mlp.training.schedules import SCHEDULES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
if not DOCS.is_dir():
    pytest.skip("the tests are away from the checkout", allow_module_level=True)
PAGES = sorted(
    path.relative_to(DOCS).as_posix()
    for path in DOCS.rglob("*.rst")
    if "_build" not in path.parts
)
LAST_EQUATION, LAST_PROBLEM = 232, 25
LISTINGS = [31, 43, 63, 81, 82, 87, 94, 114, 119, 124, 149, 150, 187]


@cache
def text(page):
    return (DOCS / page).read_text(encoding="utf-8")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("page", [page for page in PAGES if ">>> " in text(page)])
def test_examples_run(page):
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    examples = doctest.DocTestParser().get_doctest(text(page), {}, page, page, 0)
    runner = doctest.DocTestRunner(optionflags=options)
    runner.run(examples)
    assert runner.summarize(verbose=False).failed == 0


@pytest.mark.filterwarnings("error")
def test_the_readme_runs(monkeypatch, tmp_path):
    for package in ("matplotlib", "onnx"):
        pytest.importorskip(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", readme, flags=re.M | re.S):
        exec(block, names)
    assert names["model"].jacobian(names["X"][:5]).shape == (5, 10, 64)
    assert names["model"].loss_gradients(names["X"][:5], names["y"][:5]).shape == (
        5,
        64,
    )
    expected = names["model"].predict_proba(names["X"])
    assert (names["ours"].predict_proba(names["X"]) == expected).all()


def test_the_readme_names_every_example():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    listed = readme[readme.index("## Examples") : readme.index("## Development")]
    scripts = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert set(re.findall(r"`(\w+)`", listed)) == scripts


# ---- the map of the chapter -------------------------------------------------------------


def numbers(heading, prefix=""):
    """Those of the first column of the table so headed, ranges spelled out."""
    found = []
    for table in text("chapter.rst").split(".. list-table::")[1:]:
        rows = re.findall(r"^   \* - (.*)$", table, flags=re.M)
        if rows[0] != heading:
            continue
        for row in rows[1:]:
            first, _, last = row.replace(f"{prefix}65.", "").partition("–")
            found += range(int(first), int(last or first) + 1)
    return found


def test_every_equation_is_in_the_map():
    assert sorted(numbers("equation")) == list(range(1, LAST_EQUATION + 1))


def test_every_listing_is_in_the_map():
    assert numbers("listing") == LISTINGS


def test_every_example_table_and_problem_is_in_the_map():
    assert numbers("example") == list(range(1, 13))
    assert numbers("table") == list(range(1, 6))
    assert numbers("problem", "P") == list(range(1, LAST_PROBLEM + 1))


# ---- what pages name --------------------------------------------------------------------


@cache
def names_in(file):
    tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", PAGES)
def test_files_and_tests_that_a_page_names_exist(page):
    folder = "bench|docs|examples|mlp|src|tests"
    for path in re.findall(rf"``((?:{folder})/[^`\s]*)``", text(page)):
        assert (ROOT / path).exists(), path
    for file, name in re.findall(r"``(test_\w+\.py)::(\w+)``", text(page)):
        assert name in names_in(file), f"{file}::{name}"


@pytest.mark.parametrize(
    "page, names",
    [
        ("guide/losses.rst", LOSSES),
        ("guide/training.rst", INITIALIZERS),
        ("guide/training.rst", SCHEDULES),
        ("guide/training.rst", [*FULL_BATCH_SOLVERS, "sgd", "adam", "adamw"]),
    ],
)
def test_the_guide_has_every_entry_of_a_table(page, names):
    rows = "".join(re.findall(r"^   \* - .*$", text(page), flags=re.M))
    assert [name for name in names if f"``{name}``" not in rows] == []


def test_the_guide_has_a_row_of_every_activation_made_from_the_table():
    assert "\n.. activation-table::\n" in text("guide/network.rst")
    for name, entry in ACTIVATIONS.items():
        assert entry.formula and (entry.derivative or entry.remark), name


@pytest.mark.parametrize("Estimator", [MLPClassifier, MLPRegressor])
def test_the_guide_has_every_parameter(Estimator):
    pages = "".join(text(page) for page in PAGES if page.startswith("guide/"))
    code = re.findall(
        r"``([^`]+)``|:has:`([^`]+)`|^ *(?:>>>|\.\.\.) (.*)$", pages, flags=re.M
    )
    words = set(re.findall(r"\w+", " ".join(map(" ".join, code))))
    assert set(signature(Estimator).parameters) - words == set()


def test_every_public_name_is_described():
    pages = "".join(text(page) for page in PAGES if page.startswith("api/"))
    described = set(re.findall(r"^ *\.\. auto\w+:: mlp\.(\w+)$", pages, flags=re.M))
    assert set(mlp.__all__) - described == set()


def test_errors_on_mnist_are_the_recorded_ones():
    recorded = (ROOT / "bench" / "RESULTS.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^   \* - (?:ReLU|tanh|logistic)\n     - (.*)\n     - (.*)$",
        text("performance.rst"),
        flags=re.M,
    )
    assert len(rows) == 3
    for ours, books in rows:
        assert f"| {ours} ({books}) |" in recorded
