"""The house rules that a machine can check: imports go down the floors, light start, docstrings, no prints."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pulsetwin"
FLOORS = {"cli": 7, "optimize": 6, "export": 5, "recon": 4, "sim": 3, "sequences": 2, "operators": 1}
GROUND = {"scanner", "rawdata", "volume", "errors", "progress", "atomic", "settings_file"}
LAZY_ONLY = {"matplotlib", "torchvision", "ismrmrd", "mapvbvd", "xsdata"}
LIGHT = {"torch", "scipy", "matplotlib", "numpy"}
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").as_posix()


def floor(parts: list[str]) -> int:
    """Floor of `pulsetwin.<room>...`; the package itself and the ground floor are 0."""
    room = parts[1] if len(parts) > 1 else ""
    if room in FLOORS:
        return FLOORS[room]
    assert room in GROUND | {"", "__init__"}, f"pulsetwin.{room} is not in the table of floors"
    return 0


def imported(tree: ast.AST) -> set[str]:
    """Every module that is imported anywhere in a file."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the floor"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def at_top(tree: ast.Module) -> set[str]:
    """What is imported when the module is, type-checking blocks apart."""
    guarded = {id(n) for node in ast.walk(tree) if is_type_checking(node) for n in ast.walk(node)}
    inside = {id(n) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for n in ast.walk(node)}
    kept = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    return imported(ast.Module([node for node in kept if id(node) not in guarded | inside], []))


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


@pytest.fixture(params=MODULES, ids=name_of)
def module(request) -> tuple[Path, ast.Module]:
    return request.param, ast.parse(request.param.read_text(encoding="utf-8"))


def test_imports_go_down(module):
    path, tree = module
    here = floor(name_of(path).split("/"))
    for target in imported(tree):
        parts = target.split(".")
        if parts[0] == "pulsetwin":
            there = floor(parts if len(parts) > 1 and parts[1] != "__version__" else parts[:1])
            same_room = parts[:2] == name_of(path).split("/")[:2]
            assert there < here or same_room or here == there == 0, f"{name_of(path)} imports {target}, which is above"


def test_optional_packages_are_imported_where_they_are_used(module):
    path, tree = module
    heavy = {target.split(".")[0] for target in at_top(tree)} & LAZY_ONLY
    assert not heavy, f"{name_of(path)} imports {heavy} at its top level"


def test_everything_public_is_documented(module):
    path, tree = module
    assert ast.get_docstring(tree) or not tree.body, f"{name_of(path)} has no docstring"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{name_of(path)}: {node.name} has no docstring"


def test_no_prints_and_no_known_bad_calls(module):
    path, tree = module
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("print", "breakpoint"), f"{name_of(path)}:{node.lineno} calls {called}"
            assert not called.endswith("unravel_index"), f"{name_of(path)}:{node.lineno}: use np.nonzero"


def test_functions_fit_on_a_screen(module):
    path, tree = module
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 60, f"{name_of(path)}: {node.name} has {lines} lines"


@pytest.mark.parametrize(
    "code",
    ["import pulsetwin", "import pulsetwin.cli; pulsetwin.cli.main(['--help'])"],
    ids=["import", "help"],
)
def test_start_is_light(code):
    ask = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint('loaded:', *sys.modules)"
    run = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(run.stdout.rsplit("loaded:", 1)[1].split())
    assert not loaded & LIGHT
