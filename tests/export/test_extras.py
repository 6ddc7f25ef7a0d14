"""Each extra declares every package that its format's code imports."""

import ast
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import edgevit_export
from edgevit_export import formats
from edgevit_export.errors import MissingPackage
from edgevit_export.formats import FORMATS, tool_versions

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
WORKSHOP = Path(edgevit_export.__file__).parent
# Where the code of one format stands; the rest of the workshop is every format's.
OWN = ("backends", "readers", "spellings")
OURS = {"edgevit", "edgevit_export", "edgevit_runtimes"}
DISTRIBUTIONS = packages_distributions()
# google.protobuf is a namespace package, which metadata files under other names, too.
NAMESPACES = {"google": "protobuf"}


def declared(extra: str) -> set[str]:
    """The packages that `pip install edgevit[extra]` names, without what those bring."""
    found: set[str] = set()
    lines = PROJECT["optional-dependencies"][extra] if extra else []
    for requirement in map(Requirement, [*PROJECT["dependencies"], *lines]):
        if requirement.name == "edgevit":
            found |= set().union(*(declared(inner) for inner in requirement.extras))
        else:
            found.add(canonicalize_name(requirement.name))
    return found


def imported(path: Path) -> Iterator[str]:
    """Distributions of the packages a module imports, at its head or inside of functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in {name.partition(".")[0] for name in names} - OURS:
            if name in DISTRIBUTIONS:
                yield NAMESPACES.get(name) or canonicalize_name(DISTRIBUTIONS[name][0])


def modules(extra: str, parts: tuple[str, ...] = OWN) -> list[Path]:
    """A format's own modules (of these folders), and those that all formats share."""
    shared = [p for p in WORKSHOP.rglob("*.py") if p.relative_to(WORKSHOP).parts[0] not in OWN]
    own = [p for part in parts for p in (WORKSHOP / part).glob(f"{extra}*.py")]
    return [*shared, *own]


@pytest.mark.parametrize("name", FORMATS)
def test_an_extra_declares_what_its_format_imports(name):
    used = {package for path in modules(FORMATS[name].extra) for package in imported(path)}
    assert used - declared(FORMATS[name].extra) == set()


@pytest.mark.parametrize("name", FORMATS)
def test_a_formats_packages_are_those_that_write_it(name):
    entry = FORMATS[name]
    used = {p for path in modules(entry.extra, ("backends", "spellings")) for p in imported(path)}
    packages = {canonicalize_name(package) for package in entry.packages}
    assert used - declared("") <= packages <= declared(entry.extra)


@pytest.mark.parametrize("name", FORMATS)
def test_each_missing_package_is_named_with_the_extra_that_brings_it(name, monkeypatch):
    entry = FORMATS[name]
    for missing in entry.packages:

        def version(package: str, missing: str = missing) -> str:
            if package == missing:
                raise PackageNotFoundError(package)
            return "1"

        monkeypatch.setattr(formats, "version", version)
        with pytest.raises(MissingPackage, match=f"needs {missing}, which") as caught:
            tool_versions(entry)
        assert caught.value.next == f"pip install 'edgevit[{entry.extra}]'"


def test_edgevit_alone_and_the_torch_and_video_extras_declare_their_imports():
    """What no format's extra brings: the command line's packages, safetensors, PyAV."""
    everything = declared("torch") | declared("video")
    for path in (ROOT / "edgevit").rglob("*.py"):
        assert set(imported(path)) <= everything, path
