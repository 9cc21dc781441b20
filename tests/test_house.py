"""Imports between places, the cost of `import gpubp`, docstrings of public names, README, packaging and CI."""

import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CUPY = {"cupy", "cupyx", "cupy_backends"}
sys.path.insert(0, str(ROOT / "scripts"))

import house  # noqa: E402  # the script that reads the imports, of this checkout

# The files and folders of gpubp/, lowest floor first. A place imports only from floors below its own: imports for type
# checkers and those inside functions included. docs/architecture.md says what each place is for.
FLOORS = (
    {"errors", "formula", "atomic", "endings", "rounding"},
    {"config", "backends", "datasets"},
    {"flat", "initializers", "processes", "schedules", "text"},
    {"layers", "optimizers"},
    {"losses", "model_file", "tables"},
    {"metrics", "data"},
    {"step"},
    {"explain", "interop"},
    {"network"},
    {"training"},
    {"analysis", "estimators"},
    {"report"},
    {"public", "cli"},
)
FLOOR = {place: number for number, places in enumerate(FLOORS) for place in places}


def wrong_imports(module: str, source: str) -> list[str]:
    """What the file `source` of a module may not import."""
    found = []
    place, package = house.place_of(module), module.rpartition(".")[0]
    for imported, line in house.imports_of(source, package):
        top = imported.split(".")[0]
        if top in CUPY and place != "backends":
            found.append(f"line {line} imports {top}, which only gpubp/backends may")
        if top != "gpubp" or imported == "gpubp.__version__":
            continue
        wanted = house.place_of(imported)
        if wanted not in FLOOR:
            found.append(f"line {line} imports {imported} from gpubp/__init__.py; name the file that has it")
        elif wanted != place and FLOOR[wanted] >= FLOOR[place]:
            found.append(f"line {line} imports {wanted}, which is not below {place}")
    return found


def test_every_place_has_a_floor_and_a_line_in_the_architecture() -> None:
    places = {house.place_of(module) for module in house.sources()} - house.ENTRIES
    assert places == FLOOR.keys(), "say in FLOORS, and in docs/architecture.md, where these stand"
    assert len(places) <= 30
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = " ".join(re.findall(r"^\| ([\w/, ]+) \|", page, re.MULTILINE))
    assert places <= set(re.findall(r"\w+", table))


def test_imports_run_downwards() -> None:
    wrong = []
    for module, path in house.sources().items():
        if house.place_of(module) not in house.ENTRIES:
            name = f"{module}.__init__" if path.name == "__init__.py" else module
            wrong += [
                f"{path.relative_to(ROOT)}: {problem}"
                for problem in wrong_imports(name, path.read_text(encoding="utf-8"))
            ]
    assert not wrong, "\n".join(wrong)


def test_there_is_no_circle() -> None:
    """Neither among places nor among files, with what only type checkers import."""
    files = house.file_imports()
    assert house.circle(house.place_imports(files)) == []
    assert house.circle(files) == []


@pytest.mark.parametrize(
    ("graph", "found"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, False),
        ({"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set()}, False),
        ({"a": {"b"}, "b": {"a"}}, True),
        ({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}, True),
    ],
)
def test_a_circle_is_found(graph: dict[str, set[str]], found: bool) -> None:
    assert bool(house.circle(graph)) == found


def test_the_picture_in_the_architecture_is_the_scripts() -> None:
    """docs/architecture.md shows the floors as scripts/house.py prints them."""
    run = subprocess.run([sys.executable, ROOT / "scripts" / "house.py"], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    picture = [line for line in run.stdout.splitlines() if line.startswith("    ")]
    assert len(picture) <= len(FLOORS)
    assert "\n".join(picture) in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gpubp.backends.base", "from ..layers import Dense"),
        ("gpubp.backends.base", "def f():\n    from gpubp import layers"),
        ("gpubp.layers.dense", "import cupy as cp"),
        ("gpubp.layers.dense", "import importlib\nimportlib.import_module('cupyx.scipy')"),
        ("gpubp.flat", "from .initializers import Zeros"),  # the same floor
        ("gpubp.flat", "import gpubp.step"),
        ("gpubp.step.step", "import gpubp"),
        ("gpubp.step.step", "from .. import Network"),
        ("gpubp.metrics", "if TYPE_CHECKING:\n    from .training.trainer import Trainer"),
    ],
)
def test_an_import_upwards_is_seen(module: str, source: str) -> None:
    assert len(wrong_imports(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("gpubp.layers.dense", "from ..backends import Array\nfrom ..errors import ShapeError"),
        ("gpubp.layers.dense", "from .base import Layer\nfrom gpubp.layers.dense import Dense"),
        ("gpubp.layers.dense", "from ..flat import FlatArray"),
        ("gpubp.backends.base", "import cupy"),
        ("gpubp.cli.app", "from .. import __version__"),
        ("gpubp.cli.commands.train", "from ...training.trainer import Trainer"),
        ("gpubp.step.step", "import numpy as np\nfrom typing import Any"),
    ],
)
def test_an_import_downwards_is_let_through(module: str, source: str) -> None:
    assert wrong_imports(module, source) == []


MEASURE_IMPORT = """
import json, sys, time
start = time.process_time()
import numpy
between, before = time.process_time(), set(sys.modules)
import gpubp
gpubp.Network
spent = (time.process_time() - between) / (between - start)
print(json.dumps([spent, sorted({name.partition(".")[0] for name in sys.modules.keys() - before})]))
"""


def test_importing_gpubp_imports_nothing_else() -> None:
    """NumPy neither, before the first name is asked for; and then all are there but pictures and reports."""
    code = """
import sys, gpubp
assert "numpy" not in sys.modules and gpubp.__version__
assert "Dense" in dir(gpubp) and gpubp.gradcheck(gpubp.Tanh(), (2, 3))
assert "gpubp.report" not in sys.modules and "gpubp.analysis.parity" not in sys.modules
assert "plot_history" in dir(gpubp) and gpubp.compare_backends.__module__ == "gpubp.analysis.parity"
try: gpubp.nothing
except AttributeError as problem: assert "module 'gpubp' has no attribute 'nothing'" in str(problem)
else: raise AssertionError
from gpubp import *
assert Dense is gpubp.Dense and gpubp.__all__[0] == "Dense"
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_no_public_name_is_hidden_by_a_file_of_its_name() -> None:
    """Importing gpubp/name.py would put the module in its place."""
    import gpubp

    assert set(gpubp.__all__) & {house.place_of(module) for module in house.sources()} == set()


def test_the_import_is_light(tmp_path: Path) -> None:
    """Nothing but NumPy and the standard library is loaded, and that takes less than three times NumPy's own time.

    Both are processor time of one process, so that a busy machine changes both: a limit in seconds failed there.
    """
    environment = os.environ | {"PYTHONPYCACHEPREFIX": str(tmp_path)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the first of the runs compiles, as an installation does
    times = []
    for _ in range(5):
        command = [sys.executable, "-c", MEASURE_IMPORT]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        spent, loaded = json.loads(run.stdout)
        times.append(spent)
        # Python 3.15's traceback imports `_missing_stdlib_info`, which `sys.stdlib_module_names` does not list.
        strangers = set(loaded) - sys.stdlib_module_names - {"_missing_stdlib_info", "gpubp", "numpy"}
        assert not strangers, f"import gpubp loads {sorted(strangers)}; import them inside the function that needs them"
    assert min(times) < 3.0, f"import gpubp took {min(times):.2f} times NumPy's own import, the best of {times}"


def test_every_public_name_has_an_example() -> None:
    import gpubp

    assert len(gpubp.__all__) == len(set(gpubp.__all__))
    silent = []
    for name in gpubp.__all__:
        public = getattr(gpubp, name)
        if name == "__version__":
            continue
        text = public.__doc__ or ""
        if not text.strip() or (">>> " not in text and not inspect.ismodule(public)):
            silent.append(name)
    assert not silent, f"these lack a docstring with an example (>>>): {silent}"


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_version_is_the_same_everywhere(project: dict) -> None:
    import gpubp

    assert gpubp.__version__ == project["version"]


def test_a_bare_installation_is_small(project: dict) -> None:
    def names(requirements: list[str]) -> set[str]:
        return {requirement.partition(">")[0].partition("=")[0] for requirement in requirements}

    assert names(project["dependencies"]) == {"numpy", "safetensors", "threadpoolctl"}
    extras = project["optional-dependencies"]
    promised = {"cuda12", "cuda12-local", "cuda13", "cuda13-local", "sklearn", "cli", "plot", "tables", "test", "all"}
    assert promised <= extras.keys()
    assert not {"torch", "cupy-cuda12x", "cupy-cuda12x[ctk]"} & names(extras["all"] + extras["test"])
    assert (house.PACKAGE / "py.typed").is_file()


def test_the_table_of_versions_fits_the_classifiers_and_bounds(project: dict) -> None:
    """CONTRIBUTING.md has the table that scripts/versions printed last."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\S+) \| (3\.\d+)\.\S+ \| (\S+) \|", text, re.MULTILINE)
    pythons = {python for _, python, _ in rows}
    prefix = "Programming Language :: Python :: "
    named = {line.removeprefix(prefix) for line in project["classifiers"] if line.startswith(f"{prefix}3.")}
    assert pythons == named
    lowest = min(pythons, key=lambda python: int(python.removeprefix("3.")))
    assert project["requires-python"] == f">={lowest}"
    assert re.findall(r"^\| \S+ \| 3\.\S+ \| \S+ \| (\d+) \| (?!0 )\S+ \|", text, re.MULTILINE) == [], "a set failed"
    oldest = [(python, numpy) for name, python, numpy in rows if name == "oldest"]
    assert [(python, f"numpy>={numpy}") for python, numpy in oldest] == [(lowest, project["dependencies"][0])]


def test_the_oldest_set_has_the_lower_bounds(project: dict) -> None:
    """scripts/versions reads them from pyproject.toml, and says which sets this machine can run."""
    command = [sys.executable, ROOT / "scripts" / "versions", "--list"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0 and "newest" in run.stdout, run.stderr
    bounds = [*project["dependencies"], *project["optional-dependencies"]["cli"]]
    assert [bound for bound in bounds if bound.replace(">=", "==") not in run.stdout] == []


def test_readme_and_ci_have_the_same_lines() -> None:
    """README prints the two set-up lines, and CI runs the second one as README prints it."""
    readme = [line.strip() for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()]
    assert readme.count("pip install '.[all]' && gpubp train digits") == 1
    assert readme.count("pip install -e '.[test]' && pytest") == 1
    run = subprocess.run([ROOT / ".ci" / "run", "--print"], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "pip install -e '.[test]' && pytest\n"), run.stderr


def test_no_two_modules_of_the_tests_have_one_name() -> None:
    """Without packages, pytest imports each of them by its name alone, and refuses a second one."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py"]
    assert sorted(names) == sorted(set(names))
