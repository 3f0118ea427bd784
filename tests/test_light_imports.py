"""What can be read, tested and measured on a bare GPU machine: models, objective and loop import without the rest."""

import subprocess
import sys
from collections.abc import Sequence

# tqdm is not among them: huggingface_hub, which comes with transformers, cannot do without.
ABSENT = (
    *("ray", "pyarrow", "pymoo", "scipy", "moocore", "tensorboard", "matplotlib", "jinja2", "datasets", "optuna"),
    *("fastapi", "starlette", "rich", "pandas", "llguidance"),
)
MODULES = ("cosdpo.models", "cosdpo.training.loop", "cosdpo.training.objective", "serve.engine")
"""Each with all its submodules."""
OF_RANKERS = ("transformers", "peft", "ray.train", "ray.data", "pandas", "scipy.stats", "pymoo", "optuna", "matplotlib")
"""What a training or measurement of a ranker by one process does without: its import would be most of its time."""

SCRIPT = """
import importlib, pkgutil, sys

class Bare:
    '''A finder of modules to which some are not installed.'''

    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name in absent else self.finder.find_spec(name, path, target)

names, absent = (argument.split() for argument in sys.argv[1:])
sys.meta_path[:] = [Bare(finder) for finder in sys.meta_path]
for name in names:
    module = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), name + "."):
        importlib.import_module(found.name)
    print("done", name)
"""


def imported(modules: Sequence[str], absent: Sequence[str]) -> list[str]:
    """The lines that the import prints without the absent modules."""
    command = [sys.executable, "-c", SCRIPT, " ".join(modules), " ".join(absent)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).splitlines()


def test_the_core_imports_without():
    # The last of them reads and writes Arrow tables.
    *lines, missed = imported([*MODULES, "cosdpo.data.preferences"], ABSENT)
    assert [line for line in lines if line.startswith("done")] == [f"done {module}" for module in MODULES]
    assert missed == "ModuleNotFoundError: No module named 'pyarrow'"


def test_a_ranker_is_trained_and_measured_without():
    modules = ["cosdpo.experiment.launch", "cosdpo.tasks.ranking"]
    assert imported(modules, OF_RANKERS) == [f"done {module}" for module in modules]
