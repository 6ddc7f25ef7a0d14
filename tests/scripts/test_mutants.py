import ast
import importlib.util
from pathlib import Path

import pytest

from scripts import mutants as script

ROOT = Path(__file__).resolve().parents[2]
SOURCE = '''"""Not 1 mutant."""
from typing import TYPE_CHECKING

LIMIT: int = 3
if TYPE_CHECKING:
    from collections.abc import Iterator

def inside(x: int) -> bool:
    """Nor 2."""
    if x < 0 or not x:
        raise ValueError(f"not {x + 1}")
    return x <= LIMIT
'''


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(script, "ROOT", tmp_path)
    path = tmp_path / "bounds_of_test.py"
    path.write_text(SOURCE)
    return path


def test_each_mutant_is_one_change_with_a_name_that_stays(module: Path) -> None:
    names = [name for name, _ in script.mutants(module)]
    assert [name.partition(" | ")[2] for name in names] == [
        "3 -> 4",
        "x < 0 or not x -> x < 0 and (not x)",
        "x < 0 -> x <= 0",
        "0 -> 1",
        "not x -> x",
        "raise ValueError(f'not {x + 1}') -> pass",
        "return x <= LIMIT -> return None",
        "x <= LIMIT -> x < LIMIT",
    ]
    module.write_text("import math\n\n" + SOURCE)
    assert [name for name, _ in script.mutants(module)] == names


def test_a_mutant_is_what_is_imported(module: Path) -> None:
    codes = dict(script.mutants(module))
    (code,) = (code for name, code in codes.items() if name.endswith("3 -> 4"))
    finder = script.Mutated(module, code)
    spec = finder.find_spec("bounds_of_test")
    assert finder.find_spec("bounds_of_another_test") is None
    loaded = importlib.util.module_from_spec(spec)
    finder.exec_module(loaded)
    assert loaded.LIMIT == 4
    assert all(code != compile(ast.parse(SOURCE), module, "exec") for code in codes.values())


def test_the_table_names_files_that_exist() -> None:
    for module, tests in script.MODULES.items():
        assert (ROOT / "edgevit" / f"{module}.py").is_file()
        assert all((ROOT / "tests" / "edgevit" / f"{test}.py").is_file() for test in tests)


def test_a_module_is_asked_for_by_its_last_name() -> None:
    assert len(script.BY_NAME) == len(script.MODULES)
    assert script.BY_NAME["parity"] == "bundle/parity"
