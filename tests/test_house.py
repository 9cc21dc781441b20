"""The house itself: who may import whom, how light the import is, that public names explain themselves,
and that README, packaging and CI say the same."""

import ast
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gpubp"
CUPY = {"cupy", "cupyx", "cupy_backends"}

# Lowest first. A file imports only what is named before it: the floors below its own and, on its own floor,
# the names further left. Inside a package folder (layers, backends) every file may import every other.
# What is imported under `if TYPE_CHECKING:` never runs, so there the whole of the same floor is open.
# `gpubp/__init__.py` has the version, and hands out what public.py has; nothing else is imported from it.
FLOORS = (
    ("errors", "config", "formula", "atomic"),
    ("backends",),
    ("flat", "initializers"),
    ("layers", "losses"),
    ("schedules", "optimizers", "gradient_check"),
    ("streams", "reading", "rowfiles", "data", "metrics", "batch", "workers", "arithmetic"),
    (
        *("guard", "update", "step", "profile", "checkpoint", "prediction", "network", "models"),
        *("history", "interrupt", "callbacks", "plots", "resume", "watch", "saving", "logs", "trackers"),
        *("replay", "feed", "chain", "bench", "loop"),
        *("trainer", "diagnostics", "sides", "differences", "parity", "report"),
    ),
    ("tables", "estimators"),
    ("public",),
    ("datasets", "cli", "__main__"),
)
PLACE = {name: (floor, place) for floor, names in enumerate(FLOORS) for place, name in enumerate(names)}


class Import(NamedTuple):
    """One imported name, absolute; `typing` says that only type checkers see it."""

    module: str
    line: int
    typing: bool


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def unit_of(path: Path) -> str:
    """What FLOORS calls the file: its own name, or that of the folder it lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.Module, package: str) -> Iterator[Import]:
    """Every import in `tree`, in functions too; leading dots start from `package`, the file's own."""
    typing = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            modules = [f"{base}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            modules = [str(arg.value) for arg in node.args[:1] if isinstance(arg, ast.Constant)]
        for module in modules:
            yield Import(module, getattr(node, "lineno", 0), node in typing)


def offences(unit: str, source: str, package: str = "gpubp") -> list[str]:
    """What the file `source` of `unit` imports against the order of the floors."""
    found = []
    for module, line, typing in imports(ast.parse(source), package):
        top, *rest = module.split(".")
        if top in CUPY and unit != "backends":
            found.append(f"line {line} imports {top}, which only gpubp/backends may")
        if top != "gpubp" or module == "gpubp.__version__":
            continue
        wanted = rest[0] if rest else "__init__"
        if wanted == unit and package == f"gpubp.{unit}":
            continue
        if wanted not in PLACE:
            found.append(f"line {line} imports {module} from gpubp/__init__.py; name the file that has it")
        elif PLACE[wanted] >= PLACE[unit] and not (typing and PLACE[wanted][0] == PLACE[unit][0]):
            found.append(f"line {line} imports {wanted}, which stands above {unit}")
    return found


def test_every_file_has_its_floor() -> None:
    homeless = {unit_of(path) for path in sources()} - PLACE.keys() - {"__init__"}
    assert not homeless, f"say in FLOORS, and in docs/architecture.md, where these stand: {sorted(homeless)}"


def test_imports_run_downwards() -> None:
    wrong = []
    for path in sources():
        unit = unit_of(path)
        if unit in PLACE:
            package = ".".join(path.relative_to(ROOT).parent.parts)
            wrong += [
                f"{path.relative_to(ROOT)}: {offence}"
                for offence in offences(unit, path.read_text(encoding="utf-8"), package)
            ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("unit", "package", "source"),
    [
        ("backends", "gpubp.backends", "from ..layers import Dense"),
        ("backends", "gpubp.backends", "def f():\n    from gpubp import layers"),
        ("layers", "gpubp.layers", "import cupy as cp"),
        ("layers", "gpubp.layers", "import importlib\nimportlib.import_module('cupyx.scipy')"),
        ("flat", "gpubp", "from .initializers import Zeros"),  # the name further right on the same floor
        ("flat", "gpubp", "import gpubp.step.step"),
        ("step", "gpubp", "import gpubp"),
        ("step", "gpubp", "from . import Network"),
        ("metrics", "gpubp", "if TYPE_CHECKING:\n    from .trainer import Trainer"),
        ("trainer", "gpubp", "from .trainer import Trainer"),
    ],
)
def test_an_import_upwards_is_seen(unit: str, package: str, source: str) -> None:
    assert len(offences(unit, source, package)) == 1


@pytest.mark.parametrize(
    ("unit", "package", "source"),
    [
        ("layers", "gpubp.layers", "from ..backends import Array\nfrom ..errors import ShapeError"),
        (
            "layers",
            "gpubp.layers",
            "from . import base\nfrom .base import Layer\nfrom gpubp.layers.dense import Dense",
        ),
        ("initializers", "gpubp", "from .flat import FlatArray"),  # the name further left on the same floor
        ("callbacks", "gpubp", "if TYPE_CHECKING:\n    from .trainer import Trainer"),
        ("backends", "gpubp.backends", "import cupy"),
        ("cli", "gpubp", "from . import __version__\nfrom . import datasets"),
        ("step", "gpubp", "import numpy as np\nfrom typing import Any"),
    ],
)
def test_an_import_downwards_is_let_through(unit: str, package: str, source: str) -> None:
    assert offences(unit, source, package) == []


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


def test_the_import_waits_for_nothing() -> None:
    """Not for NumPy either, before the first name is asked for; and then every name is there at once."""
    code = """
import sys, gpubp
assert "numpy" not in sys.modules and gpubp.__version__
assert "Dense" in dir(gpubp) and gpubp.gradcheck(gpubp.Tanh(), (2, 3))
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

    assert set(gpubp.__all__) & {unit_of(path) for path in sources()} == set()


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
    assert (PACKAGE / "py.typed").is_file()


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
