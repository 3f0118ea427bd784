"""What can be read, tested and measured on a bare GPU machine: models, objective and loop import without the rest."""

import subprocess
import sys

import pytest

# tqdm is not among them: huggingface_hub, which comes with transformers, cannot do without.
ABSENT = (
    *("ray", "pyarrow", "pymoo", "scipy", "moocore", "tensorboard", "matplotlib", "jinja2", "datasets", "optuna"),
    *("fastapi", "starlette", "rich", "pandas", "llguidance"),
)
MODULES = ["cosdpo.models", "cosdpo.training.loop", "cosdpo.training.objective", "serve.engine"]
"""Each with all its submodules."""

SCRIPT = """
import importlib, pkgutil, sys

class Bare:
    '''A finder of modules to which some packages are not installed.'''

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in absent else self.finder.find_spec(name, path, target)

name, *absent = sys.argv[1:]
sys.meta_path[:] = [Bare(finder) for finder in sys.meta_path]
module = importlib.import_module(name)
for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
    importlib.import_module(found.name)
print("done")
"""


def imported(module: str) -> str:
    """What the import prints without the absent packages."""
    command = [sys.executable, "-c", SCRIPT, module, *ABSENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_the_core_imports_without(module):
    assert imported(module).endswith("done\n"), imported(module)


def test_an_absent_package_is_missed():
    assert "No module named 'pyarrow'" in imported("cosdpo.data.preferences")
