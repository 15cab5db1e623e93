"""The layout's rules: imports go one way, each module says its purpose, and the wheel holds `stayhand` alone."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# From the inside out: each may import itself and what stands before it.
LAYERS = ("stayhand", "schemas", "models", "streams", "dashboard")
FOLDERS = {"stayhand": ROOT / "sdk" / "stayhand", **{name: ROOT / name for name in LAYERS[1:]}}
SDK_NEEDS = {"stayhand", "confluent_kafka", "pydantic"}


def modules(layer):
    return sorted(FOLDERS[layer].rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").partition(".")[0]


ALL = [(layer, path) for layer in LAYERS for path in modules(layer)]


def named(case):
    return str(case.relative_to(ROOT)) if isinstance(case, Path) else case


def test_there_are_modules_to_look_at():
    assert {layer for layer, _ in ALL} >= {"stayhand", "schemas", "models", "streams"}


@pytest.mark.parametrize(("layer", "path"), ALL, ids=named)
def test_imports_go_one_way(layer, path):
    outer = set(LAYERS[LAYERS.index(layer) + 1 :])
    assert not outer & set(imported(path))


@pytest.mark.parametrize("path", modules("stayhand"), ids=named)
def test_the_sdk_needs_confluent_kafka_and_pydantic_only(path):
    foreign = set(imported(path)) - SDK_NEEDS - sys.stdlib_module_names
    assert not foreign


@pytest.mark.parametrize(("layer", "path"), ALL, ids=named)
def test_each_module_says_what_it_is_for(layer, path):
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, f"{layer}: {path} has no docstring"
    assert docstring.splitlines()[0].strip()


@pytest.mark.parametrize(("layer", "path"), ALL, ids=named)
def test_nothing_is_unpickled(layer, path):
    assert not {"pickle", "marshal", "shelve", "dill", "cloudpickle"} & set(imported(path)), layer


def test_only_the_sdk_is_to_be_packed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["hatch"]["build"]["targets"]["wheel"] == {"packages": ["sdk/stayhand"]}


def test_a_wheel_holds_stayhand_alone(tmp_path):
    pytest.importorskip("hatchling", reason="the build back end is not installed")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = {name.partition("/")[0] for name in packed.namelist()}
        assert "stayhand/py.typed" in packed.namelist()
    assert {name for name in names if not name.endswith(".dist-info")} == {"stayhand"}
