import ast
import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("edgevit", "export/edgevit_export", "runtimes/edgevit_runtimes")
SUFFIXES = {"", ".py", ".toml", ".md", ".lock", ".txt", ".json", ".yml", ".yaml", ".cfg", ".sh"}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

# Started in a process of its own, since this one has torch loaded.
WITHOUT_HEAVY_PACKAGES = """
import importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {heavy!r}:
            raise ImportError(f"{{name}} must not be loaded here")
        return None

sys.meta_path.insert(0, Blocked())
sys.path[:0] = {paths!r}
"""


def heavy_packages() -> list[str]:
    """ruff's list of packages that are banned at module level, and peers that nothing may load."""
    lint = PYPROJECT["tool"]["ruff"]["lint"]
    banned: list[str] = lint["flake8-tidy-imports"]["banned-module-level-imports"]
    return [*banned, "timm", "torchvision"]


def modules() -> list[str]:
    """Every module that may not load a heavy package, by the table that ruff goes by."""
    table: dict[str, list[str]] = PYPROJECT["tool"]["ruff"]["lint"]["per-file-ignores"]
    allowed = [pattern for pattern, rules in table.items() if "TID253" in rules]
    found = []
    for package in PACKAGES:
        base = (ROOT / package).parent
        for path in sorted((ROOT / package).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not any(fnmatch.fnmatch(name, pattern) for pattern in allowed):
                parts = path.relative_to(base).with_suffix("").parts
                found.append(".".join(parts).removesuffix(".__init__"))
    return found


def run_without_heavy_packages(code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python where importing a heavy package fails."""
    paths = [str(ROOT / root) for root in ("", "export", "runtimes")]
    prelude = WITHOUT_HEAVY_PACKAGES.format(heavy=heavy_packages(), paths=paths)
    command = [sys.executable, "-c", prelude + code]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def tracked() -> list[Path]:
    """Files that are in git or would be; skips where this is no checkout."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so the files that belong to it are not known")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    paths = [ROOT / name for name in done.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def lines_matching(pattern: str) -> list[str]:
    """Lines of the tracked text files that match, as `path:number: line`."""
    regex = re.compile(pattern)
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in tracked()
        if path.suffix in SUFFIXES
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if regex.search(line)
    ]


def test_every_module_loads_with_no_extra_installed() -> None:
    code = f"""
import importlib, json
failed = {{}}
for name in {modules()!r}:
    try:
        importlib.import_module(name)
    except ImportError as error:
        failed[name] = str(error)
print(json.dumps(failed))
"""
    done = run_without_heavy_packages(code)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {}


@pytest.mark.parametrize(
    "code",
    [
        "import edgevit; assert edgevit.__version__",
        "import edgevit; assert 'topformer-t' in edgevit.list_models()",
        "import edgevit; assert edgevit.model_card('topformer-t').outputs",
        "import sys; sys.argv = ['edgevit', '--help']; import edgevit.cli; edgevit.cli.main()",
        "import sys; sys.argv = ['edgevit', 'doctor']; import edgevit.cli; edgevit.cli.main()",
        "import sys; sys.argv = ['edgevit', 'list']; import edgevit.cli; edgevit.cli.main()",
    ],
)
def test_what_needs_no_network_loads_none(code: str) -> None:
    done = run_without_heavy_packages(code)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_the_three_packages_and_nothing_else(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    done = subprocess.run(
        [*command, "--outdir", str(tmp_path), str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"edgevit-{PYPROJECT['project']['version']}.dist-info"
    assert {name.split("/")[0] for name in names} == {
        "edgevit",
        "edgevit_export",
        "edgevit_runtimes",
        info,
    }
    assert f"{info}/licenses/LICENSE" in names
    for package in PACKAGES:
        base = (ROOT / package).parent
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and path.suffix not in (".pyc", ".so"):
                assert path.relative_to(base).as_posix() in names
    # One wheel for every machine: what `make native` built stays out.
    assert [name for name in names if name.endswith(".so")] == []


def test_the_lock_keeps_the_pins_of_pyproject() -> None:
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[A-Za-z0-9.]+", pin) for pin in pins)
    assert pins == sorted(pins, key=lambda pin: pin.split("==")[0])
    extras = PYPROJECT["project"]["optional-dependencies"].values()
    exact = [line for extra in extras for line in extra if "==" in line]
    assert exact
    assert set(exact) <= set(pins)


def test_no_path_of_one_machine_is_in_a_tracked_file() -> None:
    roots = "|".join(("work", "root", "home", "tmp", "Users"))
    assert lines_matching(rf"(?<![\w./~$}}*-])/(?:{roots})(?![\w.-])") == []


def test_no_host_of_a_package_registry_is_in_a_tracked_file() -> None:
    kinds = "|".join(("pypi", "registry", "download", "files", "deb", "mirrors?", "wheels?"))
    assert lines_matching(rf"\b(?:{kinds})\.(?:[\w-]+\.)*(?:org|com|net|io)\b") == []


def test_no_tracked_file_is_large() -> None:
    sizes = {str(path.relative_to(ROOT)): path.stat().st_size for path in tracked()}
    assert {name: size for name, size in sizes.items() if size > 3_000_000} == {}


def test_no_pass_writes_where_the_line_does_not_look() -> None:
    """Tensors count their own changes, and a pass that changed none goes unproven; `.data` does not
    count.
    """
    networks = (ROOT / "edgevit/networks").rglob("*.py")
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in networks}
    assert len(texts) > 50
    assert {
        name for name, text in texts.items() if re.search(r"(?<!edgevit)\.data\b(?!`)", text)
    } == set()


def test_no_source_file_is_long() -> None:
    too_long = {}
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py":
            count = len(path.read_text("utf-8").splitlines())
            # A network is one file; a table of cases is longer than what it tests.
            limits = {"edgevit/networks/*/network.py": 800, "tests/*": 600}
            if count > next((n for p, n in limits.items() if fnmatch.fnmatch(name, p)), 500):
                too_long[name] = count
    assert too_long == {}


# The words by which each system would be named in code.
SYSTEM_WORDS = {
    "topformer": r"topformer",
    "vitpose": r"vit_?pose",
    "t2t_vit": r"t2t",
    "mvitv2": r"mvit",
    "vit_adapter": r"vit[-_]?adapter",
}
# Examples of commands in help texts and in the next step of an error name a model.
EXAMPLES = ("edgevit/cli/", "edgevit/data/labels/")


@pytest.mark.parametrize("system", SYSTEM_WORDS)
def test_a_system_is_named_in_its_room_and_the_zoo_alone(system: str) -> None:
    """A new family is one folder and one line; so nothing else may know one by name. Comments that
    say where a number was measured may.
    """
    word = re.compile(SYSTEM_WORDS[system], re.IGNORECASE)
    own = (f"edgevit/networks/{system}/", "edgevit/networks/zoo.py", "edgevit/weights/")
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith((*own, *EXAMPLES)) and (lines := _code_lines(path, word)):
                found[name] = lines
    assert found == {}


def _code_lines(path: Path, word: re.Pattern[str]) -> list[str]:
    """Lines of code that match: no comments, no docstrings."""
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return [line for line in ast.unparse(tree).splitlines() if word.search(line)]
