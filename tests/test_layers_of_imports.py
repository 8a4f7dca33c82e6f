"""The order of packages and of the core's folders: arrows point down, and in no circle."""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mlp

ROOT = Path(mlp.__file__).parent
CORE = Path(__file__).parents[1] / "src" / "core"

#: packages and modules of mlp by floor; imports go to lower floors, or stay in a package
FLOORS = [
    {"_core", "progress"},
    {"files", "threads"},
    {"network"},
    {"training"},
    {"estimators"},
    {"gaussian_process", "projection_pursuit"},
    {"onnx", "plot", "cli"},
    {"__main__"},
]
#: packages that do without scikit-learn, even inside functions
WITHOUT_SKLEARN = ("_core", "files", "network", "threads", "training")


def modules():
    """Names of all modules, with their files."""
    found = {}
    for file in sorted(ROOT.rglob("*.py")):
        parts = ["mlp", *file.relative_to(ROOT).with_suffix("").parts]
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


MODULES = modules()


def imports(file):
    """Modules that a file imports, in functions too, but for `TYPE_CHECKING` blocks."""
    found = set()

    def visit(node):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} has a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in {*MODULES, "mlp._core"} else node.module)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(file.read_text(encoding="utf-8")))
    return found


IMPORTS = {name: imports(file) for name, file in MODULES.items()}


def ours(name):
    """Imported modules of mlp; mlp itself, which has the version, imports nothing."""
    return {m for m in IMPORTS[name] if m.startswith("mlp.")}


def package(name):
    return name.split(".")[1]


def floor(name):
    return next(k for k, packages in enumerate(FLOORS) if package(name) in packages)


def test_the_package_itself_imports_nothing_of_its_own():
    assert not ours("mlp")


def test_modules_import_in_no_circle():
    try:
        TopologicalSorter({name: ours(name) for name in MODULES}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_packages_import_in_no_circle():
    graph = {}
    for name in set(MODULES) - {"mlp"}:
        others = {package(m) for m in ours(name)} - {package(name)}
        graph.setdefault(package(name), set()).update(others)
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", sorted(set(MODULES) - {"mlp"}))
def test_a_module_imports_from_lower_floors(name):
    wrong = [
        other
        for other in ours(name)
        if package(other) != package(name) and floor(other) >= floor(name)
    ]
    assert not wrong


@pytest.mark.parametrize(
    "name", [m for m in MODULES if m != "mlp" and package(m) in WITHOUT_SKLEARN]
)
def test_networks_and_their_training_do_without_scikit_learn(name):
    assert not [m for m in IMPORTS[name] if m.split(".")[0] == "sklearn"]


# -- the core --


@pytest.fixture(scope="module")
def includes():
    if not CORE.is_dir():
        pytest.skip("the core's sources are not here")
    return {
        file.relative_to(CORE).as_posix(): set(
            re.findall(r'^#include "(.+)"', file.read_text(encoding="utf-8"), re.M)
        )
        for file in CORE.rglob("*.[ch]")
    }


def test_files_of_the_core_include_in_no_circle(includes):
    TopologicalSorter(includes).prepare()


def test_files_that_the_core_includes_are_there(includes):
    assert {name for names in includes.values() for name in names} <= set(includes)


#: folders of the core by floor, from the structs up to the table of kernels
CORE_FLOORS = [
    {"mlp_core.h"},
    {"machine"},
    {"products"},
    {"network"},
    {"training", "single", "derivatives"},
    {"kernels.c", "dispatch.c", "dispatch.h"},
]


def test_files_of_the_core_include_from_lower_floors(includes):
    def core_floor(name):
        folder = name.split("/")[0]
        return next(k for k, names in enumerate(CORE_FLOORS) if folder in names)

    wrong = [
        (name, other)
        for name, others in includes.items()
        for other in others
        if name.split("/")[0] != other.split("/")[0]
        and core_floor(other) >= core_floor(name)
        and not {name, other} <= {"kernels.c", "dispatch.c", "dispatch.h"}
    ]
    assert not wrong
