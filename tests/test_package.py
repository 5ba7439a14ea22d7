"""The public table of contents, and that to read it costs nothing."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import quasistatic

ROOT = Path(quasistatic.__file__).parents[2]
DRAWING = {"matplotlib", "sklearn", "scipy", "pandas", "pooch"}
HEAVY = DRAWING | {"torch", "numpy", "yaml", "tqdm", "safetensors"}


def loaded_after(program: str) -> set[str]:
    """Top-level modules of a fresh interpreter that has run a program."""
    program += "\nimport sys\nprint('<', *{name.split('.')[0] for name in sys.modules})"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split("<")[-1].split())


def test_importing_the_package_imports_nothing_heavy():
    loaded = loaded_after("import quasistatic; dir(quasistatic); quasistatic.__version__")
    assert "quasistatic" in loaded
    assert not loaded & HEAVY


def test_help_imports_nothing_heavy():
    loaded = loaded_after(
        "from quasistatic.cli import COMMANDS, main\n"
        "for words in [[], *([name] for name in COMMANDS)]:\n"
        "    try: main([*words, '--help'])\n"
        "    except SystemExit as end: assert not end.code\n"
        "    else: raise AssertionError(words)"
    )
    assert "tyro" in loaded
    assert not loaded & HEAVY


def test_recipes_are_listed_without_torch_and_drawing():
    loaded = loaded_after("from quasistatic.cli import main; main(['recipes']); main(['recipes', '--json'])")
    assert not loaded & (HEAVY - {"numpy"})


def test_models_and_bounds_can_be_had_without_drawing_or_sklearn():
    loaded = loaded_after("import quasistatic as qs\nfor name in {*qs.__all__} - {'DiffusionDensity'}: getattr(qs, name)")
    assert "torch" in loaded
    assert not loaded & DRAWING


@pytest.mark.parametrize("name", quasistatic.__all__)
def test_every_public_name_is_that_of_its_home_and_no_module(name):
    value = getattr(quasistatic, name)
    if name == "schedules":
        assert isinstance(value, ModuleType)
        return
    home = importlib.import_module(f"quasistatic.{quasistatic._HOME_OF[name]}")
    assert value is getattr(home, name)
    assert name in home.__all__
    assert not isinstance(value, ModuleType)


def test_a_name_means_the_same_whatever_was_imported_before():
    # importing a submodule binds its name in the package, ahead of __getattr__
    modules = {path.stem for path in (ROOT / "src" / "quasistatic").iterdir()}
    assert {"distributions", "schedules"} <= modules
    assert modules & {*quasistatic.__all__} == {"schedules"}


def test_a_star_brings_the_public_names_and_no_others():
    names: dict[str, object] = {}
    exec("from quasistatic import *", names)
    assert names.keys() - {"__builtins__"} == {*quasistatic.__all__}
    assert {*quasistatic.__all__} <= {*dir(quasistatic)}
    assert len({*quasistatic.__all__}) == len(quasistatic.__all__)


@pytest.mark.parametrize("name", quasistatic._MODULES)
def test_modules_are_attributes_too(name):
    assert quasistatic.__getattr__(name) is sys.modules[f"quasistatic.{name}"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        quasistatic.nonsense  # noqa: B018


def test_the_version_is_that_of_the_project():
    assert re.fullmatch(r"\d+\.\d+\.\d+", quasistatic.__version__)
    told = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" in told["project"]["dynamic"]
    assert ROOT / told["tool"]["hatch"]["version"]["path"] == Path(quasistatic.__file__)
