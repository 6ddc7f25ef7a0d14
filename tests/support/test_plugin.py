from pathlib import Path

import pytest

from tests.support import plugin

ROOT = Path(__file__).resolve().parents[2]


def test_a_file_is_run_by_one_worker_and_the_matrix_a_network_at_a_time() -> None:
    assert plugin.scope_of("tests/a/test_b.py::test_c[x::y]") == "tests/a/test_b.py"
    (matrix,) = plugin.BY_PARAMETER
    one = {plugin.scope_of(f"{matrix}::{test}[vit-micro]") for test in ("test_a", "test_b")}
    assert one == {f"{matrix}[vit-micro]"}
    assert plugin.scope_of(f"{matrix}::test_c") == matrix


def test_the_table_names_files_that_exist() -> None:
    scopes = {scope.partition("[")[0] for scope in (*plugin.SECONDS, *plugin.BY_PARAMETER)}
    assert [scope for scope in sorted(scopes) if not (ROOT / scope).is_file()] == []
    assert list(plugin.SECONDS.values()) == sorted(plugin.SECONDS.values(), reverse=True)


def test_the_longest_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "SECONDS", {"t/long.py": 9, "t/middle.py": 5})
    order = sorted(("t/a.py", "t/middle.py", "t/long.py"), key=lambda s: -plugin.seconds_of(s))
    assert order == ["t/long.py", "t/middle.py", "t/a.py"]
    assert plugin.seconds_of("t/long.py[x]") == 9
