"""Without scikit-learn gpubp works, and its estimators name the package to install."""

import subprocess
import sys

CODE = """
import sys
sys.modules["sklearn"] = None
import gpubp
try:
    import gpubp.estimators
except gpubp.MissingDependencyError as problem:
    print(problem)
"""


def test_the_error_names_the_pip_command():
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert run.stdout == "gpubp.estimators needs scikit-learn: pip install 'gpubp[sklearn]'\n"
