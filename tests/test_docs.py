"""The README's commands and every page's snippets are run; what pages name exists, and their tables
are the code's.
"""

import dataclasses
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main
from PIL import Image

from edgevit import errors
from edgevit.bundle.manifest import FileEntry, Manifest, Member, PassEntry, Weights
from edgevit.bundle.opened import open_bundle
from edgevit.bundle.parity import Verification
from edgevit.checkpoints import bounds
from edgevit.cli import main
from edgevit.cli.app import app
from edgevit.data.scenes import scene
from edgevit.networks.line import PASSES
from edgevit.networks.topformer.network import INJECTIONS, TOKEN_STRIDES
from edgevit.networks.zoo import MODELS
from edgevit.request.spec import WORDS
from edgevit.request.targets import TARGETS
from edgevit.tasks.preprocessing import Preprocessing
from edgevit_export.artifact import TensorSpec
from edgevit_export.errors import ExportError
from edgevit_export.formats import FORMATS
from edgevit_export.scheme import PRECISIONS
from edgevit_runtimes.cores import CORES
from edgevit_runtimes.counting import CountRow
from edgevit_runtimes.device import Device
from edgevit_runtimes.errors import RuntimesError
from edgevit_runtimes.estimate.latency import Estimate
from edgevit_runtimes.result import BenchResult, BenchRow, BenchSettings
from edgevit_runtimes.timing import Timings

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [README, *DOCS, ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md"]
CASE = "topformer_t_ade20k_448x448"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PLACE = re.compile(
    r"(?<![\w/.-])(?:edgevit|export|runtimes|tests|docs|scripts|benchmarks)/[\w./-]*[\w/]"
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    found = FENCE.findall(page.read_text("utf-8"))
    return [body for kind, body in found if kind == language]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text("utf-8"))


def commands(program: str) -> list[str]:
    lines = [line for block in blocks(README, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(f"{program} ")]


def table(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its two head lines."""
    text = page.read_text("utf-8").partition(f"# {heading}\n")[2]
    rows = []
    for line in text[text.index("\n|") + 1 :].splitlines():
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows[2:]


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def run_edgevit(line: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(shlex.split(line)[1:])
    assert left.value.code in (0, None), line


def checkpoint_in(folder: Path) -> None:
    seeded = runpy.run_path(str(ROOT / "tests" / "parity" / "seeded_weights.py"))
    seeded["write_checkpoint"](seeded["load_case"](CASE), folder / "checkpoint.pth")


def labeled(folder: Path) -> None:
    """Two photos with masks, as ADE20K's validation set has them: 0 is no class."""
    for seed in (1_000_004, 1_000_005):
        drawn = scene(seed, 96, 128)
        for part, image, ending in (
            ("images", drawn.image, "jpg"),
            ("annotations", drawn.mask, "png"),
        ):
            path = folder / part / "validation" / f"{seed}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path)


def first_command(folder: Path, *words: str) -> None:
    """Runs the README's first command with a small input, and `words` behind it."""
    first = commands("edgevit")[0]
    assert first.split()[1:3] == ["export", "topformer-t"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_edgevit(shlex.join([*shlex.split(first), "--input-size", "64", "64", *words]))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with what the README speaks of: a checkpoint, a photo, and the bundle `out` that
    its first command makes, small and without its .tflite file.
    """
    folder = tmp_path_factory.mktemp("readme")
    checkpoint_in(folder)
    Image.fromarray(scene(1_000_003, 120, 160).image).save(folder / "photo.jpg")
    labeled(folder / "ade20k")
    first_command(folder, "--format", "onnx,executorch")
    return folder


def shortened(line: str) -> str:
    """The same command, without what takes long: an export is checked, a bench is brief."""
    if line.startswith("edgevit export"):
        return f"{line} --dry-run"
    if line.startswith("edgevit quantize"):
        return f"{line} --calibration-samples 2 --eval-samples 2"
    if line.startswith("edgevit bench"):
        return f"{line} --runtime onnx --repeat 1 --runs 3 --min-secs 0"
    return line


def smaller(code: str) -> str:
    """The same snippet with a small input, which is proven in a fraction of the time."""
    return code.replace("(448, 448)", "(64, 64)")


def test_the_readme_starts_with_its_two_commands() -> None:
    assert blocks(README, "sh")[0].splitlines() == ["make demo", "make test"]


def files_of(folder: Path) -> dict[str, str]:
    """The files of a bundle that is whole, with what was found of each."""
    bundle = open_bundle(folder)
    bundle.check()
    return {file.path: file.verification.status for file in bundle.manifest.files}


def test_the_first_command_of_the_readme_makes_a_verified_bundle(place: Path) -> None:
    names = ("model.pte", "model.onnx")
    assert files_of(place / "out") == dict.fromkeys(names, "executed")


# Exports once more; `host_bundle` has a .tflite file in `make test`.
@pytest.mark.full
def test_the_first_command_of_the_readme_makes_all_files_of_its_target(tmp_path: Path) -> None:
    checkpoint_in(tmp_path)
    first_command(tmp_path)
    names = ("model.pte", "model.onnx", "model.tflite")
    assert files_of(tmp_path / "out") == dict.fromkeys(names, "executed")


@pytest.mark.parametrize("line", commands("edgevit")[1:])
def test_the_commands_of_the_readme_run(
    line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    run_edgevit(shortened(line))
    assert capfd.readouterr().out


@pytest.mark.parametrize("line", commands("make"))
def test_the_make_targets_of_the_readme_exist(line: str) -> None:
    if shutil.which("make") is None:
        pytest.skip("make is not installed, so its targets are not known")
    done = subprocess.run(
        [*shlex.split(line), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_command_line_of_the_readme_is_run_here() -> None:
    lines = [line for block in blocks(README, "sh") for line in block.splitlines() if line]
    assert sorted(lines) == sorted([*commands("edgevit"), *commands("make")])


SNIPPETS = [(page, block) for page in PAGES for block in blocks(page, "python")]


@pytest.mark.parametrize(
    ("page", "code"), SNIPPETS, ids=[f"{name_of(p)}-{i}" for i, (p, _) in enumerate(SNIPPETS)]
)
def test_the_snippets_run(page: Path, code: str, place: Path) -> None:
    # A process of its own, as a reader's script is: names of the public face load when first used.
    roots = os.pathsep.join(str(ROOT / part) for part in ("", "export", "runtimes"))
    done = subprocess.run(
        [sys.executable, "-c", smaller(code)],
        cwd=place,
        env={**os.environ, "PYTHONPATH": roots},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{name_of(page)}: {done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    broken = []
    for target in LINK.findall(prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        if not linked.exists():
            broken.append(target)
        elif anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            if anchor not in {slug(heading) for heading in headings}:
                broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_are_named_exist(page: Path) -> None:
    named = set(PLACE.findall(page.read_text("utf-8")))
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_make_targets_that_are_named_exist(page: Path) -> None:
    declared = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    code = re.findall(r"`([^`\n]+)`", prose(page)) + FENCE.findall(page.read_text("utf-8"))
    text = "\n".join(part if isinstance(part, str) else part[1] for part in code)
    named = set(re.findall(r"^make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named <= set(declared)


def test_options_that_are_named_exist() -> None:
    known = {"--help"}
    command = typer.main.get_command(app)
    for each in (command, *command.commands.values()):  # type: ignore[attr-defined]
        known |= {option for parameter in each.params for option in parameter.opts}
    pages = [page for page in PAGES if page.name not in ("install.md", "benchmarks.md")]
    pages.remove(ROOT / "benchmarks" / "README.md")
    for page in pages:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text("utf-8")))
        assert named - known - {"--strict"} == set(), name_of(page)


def test_the_table_of_precisions_is_that_of_the_formats() -> None:
    rows = {row[0]: row[1:] for row in table(README, "Formats and precisions")}
    assert set(rows) == set(FORMATS)
    for name, entry in FORMATS.items():
        writes = [cell.startswith("yes") for cell in rows[name]]
        assert writes == [precision in entry.precisions for precision in PRECISIONS]


def test_the_words_of_precisions_are_explained() -> None:
    page = ROOT / "docs" / "quantization.md"
    told = {w.strip("` ") for row in table(page, "Precisions") for w in row[0].split(",")}
    assert told == set(WORDS) - {"fp32"}


def test_the_exit_codes_are_those_of_the_errors() -> None:
    codes = {int(row[0]) for row in table(README, "Exit codes")}
    raised = {each.exit_code for root in tree_roots() for each in family(root)}
    assert codes == {0, 130} | raised


Failure = type[errors.EdgevitError] | type[ExportError] | type[RuntimesError]


def tree_roots() -> tuple[Failure, ...]:
    return errors.EdgevitError, ExportError, RuntimesError


def family(root: Failure) -> list[Failure]:
    """A class and all below it."""
    children: list[Failure] = root.__subclasses__()  # type: ignore[assignment]
    return [root, *(each for child in children for each in family(child))]


def test_the_architecture_page_draws_the_error_trees() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    modules = ("edgevit.errors", "edgevit_export.errors", "edgevit_runtimes.errors")
    names = [e.__name__ for r in tree_roots() for e in family(r) if e.__module__ in modules]
    assert [name for name in names if name not in text] == []


def test_the_architecture_page_names_every_module_of_the_house() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    files = [p for p in (ROOT / "edgevit").glob("*.py") if p.name != "__init__.py"]
    folders = {p.parent for p in (ROOT / "edgevit").glob("*/*.py")}
    folders |= {p.parent for p in (ROOT / "export" / "edgevit_export").glob("*/*.py")}
    names = [name_of(p) for p in files] + [f"{name_of(p)}/" for p in folders]
    assert [name for name in names if name not in text] == []


@pytest.mark.parametrize(
    "entry", [Manifest, FileEntry, PassEntry, Weights, Member, Verification, TensorSpec]
)
def test_the_bundle_page_explains_every_field(entry: type) -> None:
    text = (ROOT / "docs" / "bundle.md").read_text("utf-8")
    names = [field.name for field in dataclasses.fields(entry)]
    assert [name for name in names if f"`{name}`" not in text] == []


def test_the_bundle_page_explains_the_preprocessing() -> None:
    text = (ROOT / "docs" / "bundle.md").read_text("utf-8")
    written = Preprocessing((64, 64), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)).to_json()
    assert [name for name in written if name not in text] == []


def test_the_rewrites_page_has_exactly_the_passes_there_are() -> None:
    rows = {row[0].strip("`"): row[1] for row in table(ROOT / "docs" / "rewrites.md", "Rewrites")}
    stages = {
        line.name: "common" if line.stage == "common" else ", ".join(line.formats)
        for line in PASSES
    }
    assert rows == stages
    of_topformer = {
        row[0].strip("`"): row[1] for row in table(ROOT / "docs" / "topformer.md", "Rewrites")
    }
    assert of_topformer.items() <= rows.items()


def test_the_topformer_page_has_every_model_and_option() -> None:
    text = (ROOT / "docs" / "topformer.md").read_text("utf-8")
    names = [name for name, card in MODELS.items() if card.architecture == "topformer"]
    assert [name for name in names if f"`{name}`" not in text] == []
    assert [kind for kind in INJECTIONS if f"`{kind}`" not in text] == []
    assert ", ".join(map(str, TOKEN_STRIDES)) in text


def test_the_readme_exports_for_targets_there_are() -> None:
    named = re.findall(r"--target (\S+)", "\n".join(commands("edgevit")))
    assert named
    assert set(named) <= set(TARGETS)


def test_the_security_page_has_the_limits_of_the_reader() -> None:
    text = (ROOT / "docs" / "security.md").read_text("utf-8")
    gib, mib = bounds.GIB, bounds.MIB
    said = [
        f"| a checkpoint | {bounds.FILE_BYTES // gib} GiB |",
        f"arrays inside | {bounds.PICKLE_BYTES // mib} MiB |",
        f"inside it | {bounds.PLAIN_PICKLE_BYTES // gib} GiB |",
        f"copied elements | {bounds.OPCODES // mib} Mi |",
        f"| {bounds.ARCHIVE_MEMBERS:,}, and {bounds.DIRECTORY_BYTES // mib} MiB |",
        f"| {bounds.EXPANSION} times the archive |",
        f"| {bounds.TENSORS:,}, and {bounds.RANK} |",
        f"| {bounds.COPIES} times the file",
        f"header | {bounds.HEADER_BYTES // mib} MiB |",
    ]
    assert [line for line in said if line not in text] == []


def test_the_pictures_are_small_and_whole() -> None:
    for name in ("segmented.png", "scene.jpg"):
        path = ROOT / "docs" / "images" / name
        assert path.stat().st_size < 300_000
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) >= 400


def test_no_page_has_long_lines() -> None:
    long = {
        name_of(page): [line for line in prose(page).splitlines() if len(line) > 120]
        for page in PAGES
    }
    assert {
        name: [line for line in lines if not line.startswith("|")]
        for name, lines in long.items()
        if [line for line in lines if not line.startswith("|")]
    } == {}


def test_every_field_of_a_result_is_explained() -> None:
    """docs/results.md names what `bench` writes, in the table of its part, and nothing else."""
    timings = Timings(0.1, 0.1, (0.1,))
    row = BenchRow("f", "0", "e", {}, 1, (0.1,), (timings,))
    count = CountRow("f", "0", "e", {}, (1,), None, None)
    price = Estimate(CORES["cortex-a77"], 1.0, 1.0, "t", (), {"fp32": 1, "fp16": 0, "int8": 0})
    result = json.loads(
        json.dumps(BenchResult(Device("local"), {}, BenchSettings(), (row,), (count,)).to_json())
    )
    written = {
        "The document": result,
        "A row of `rows`": {
            **result["rows"][0],
            **result["rows"][0]["validity"],
            **result["rows"][0]["repeats"][0],
        },
        "A row of `counted`": {**result["counted"][0], **price.to_json()},
    }
    page = (ROOT / "docs" / "results.md").read_text("utf-8")
    for title, fields in written.items():
        text = page.partition(f"## {title}\n")[2].partition("\n## ")[0]
        cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
        named = {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
        assert named == set(fields), title
