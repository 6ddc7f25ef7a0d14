"""What somebody meets who tries each command: results alone on stdout, a next step on stderr."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgevit.bundle.opened import Bundle
from edgevit.cli.app import app
from tests.edgevit.measure.test_report import measured, written

Cli = Callable[..., Any]

EDGEVIT = (sys.executable, "-c", "from edgevit.cli import main; main()")
COMMANDS = [entry.name for entry in app.registered_commands]
HEAVY = (
    *("torch", "torchao", "onnx", "onnxruntime", "onnxscript", "onnxsim", "executorch"),
    *("coremltools", "litert_torch", "ai_edge_litert", "jax", "tensorflow", "safetensors", "numpy"),
)
FAST = ("--runs", "1", "--repeat", "1", "--warmup", "0", "--min-secs", "0", "-r", "onnx")


@pytest.fixture
def photo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "photo.png"
    Image.fromarray(np.zeros((40, 60, 3), np.uint8)).save(path)
    return path


@pytest.fixture
def lines(
    host_bundle: Bundle, bundle_copy: Callable[[], Bundle], photo: Path
) -> dict[str, tuple[object, ...]]:
    """A command line of each command that works."""
    bundle = host_bundle.path
    few = ("--calibration-samples", 1, "--eval-samples", 1)
    results = photo.parent / "measured"
    results.mkdir()
    before = written(results / "before.json", [measured()], [])
    after = written(results / "after.json", [measured()], [])
    return {
        "export": ("export", "topformer-t", "--input-size", 64, 64, "--dry-run"),
        "verify": ("verify", bundle, "-r", "onnx"),
        "run": ("run", bundle, photo, "-r", "onnx"),
        "bench": ("bench", bundle, *FAST),
        "compare": ("compare", before, after),
        "report": ("report", before, "-o", results / "report.html", "--force"),
        "list": ("list",),
        "info": ("info", "topformer-t"),
        "inspect": ("inspect", bundle / "model.onnx"),
        "doctor": ("doctor",),
        "eval": ("eval", bundle_copy().path, "--data", "scenes", "--max-samples", 2, "-r", "onnx"),
        "quantize": ("quantize", "vit-micro", "--sensitivity", *few),
    }


def test_every_command_is_tried(lines: dict[str, object]) -> None:
    assert sorted(lines) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_ends_with_what_comes_next(
    command: str, cli: Cli, lines: dict[str, tuple[object, ...]]
) -> None:
    told = cli(*lines[command])
    assert told.code == 0, told.err
    assert told.err.splitlines()[-1].startswith("Next: ")
    widths = {line.count("\t") for line in told.out.splitlines()}
    assert len(widths) == 1  # a table that a pipe can be cut by, under a header that fits it
    assert widths.pop() >= 1
    assert "Next: " not in told.out


@pytest.mark.parametrize("command", COMMANDS)
def test_json_has_stdout_for_itself(
    command: str, cli: Cli, lines: dict[str, tuple[object, ...]]
) -> None:
    told = cli(*lines[command], "--json")
    assert told.code == 0, told.err
    assert json.loads(told.out)
    assert told.err.splitlines()[-1].startswith("Next: ")


@pytest.mark.parametrize("command", COMMANDS)
def test_quiet_leaves_results_alone(
    command: str, cli: Cli, lines: dict[str, tuple[object, ...]]
) -> None:
    told = cli(*lines[command], "--quiet")
    assert (told.code, told.err) == (0, "")
    assert told.out


def test_logs_are_not_wrapped(cli: Cli, lines: dict[str, tuple[object, ...]]) -> None:
    remark = "! Using demo weights, trained only on drawn scenes; give real ones with --weights"
    told = cli(*lines["export"])
    assert any(line.startswith(remark) for line in told.err.splitlines())


def test_bench_keeps_its_samples(cli: Cli, lines: dict[str, tuple[object, ...]]) -> None:
    told = cli(*lines["bench"], "-o", "result.json")
    assert told.code == 0
    assert json.loads(Path("result.json").read_text())["rows"]
    left = {path.name for path in Path.cwd().iterdir()} - {"bundle", "measured"}
    assert left == {"photo.png", "result.json"}


def test_run_writes_what_it_says(cli: Cli, lines: dict[str, tuple[object, ...]]) -> None:
    told = cli(*lines["run"], "--json")
    (told_one,) = json.loads(told.out)
    assert json.loads(Path("results/photo.json").read_text()) == told_one
    with Image.open(told_one["mask"]) as mask:
        assert mask.size == (60, 40)
    with Image.open(told_one["overlay"]) as overlay:
        assert overlay.format == "PNG"
    names = ["photo.json", "photo.mask.png", "photo.overlay.png"]
    assert sorted(path.name for path in Path("results").iterdir()) == names


# --- help ----------------------------------------------------------------------------------------

MENTIONED = {
    "export": (
        "--weights, --checkpoint FILE",
        "--target NAME",
        "-o",
        "--input-size H W",
        "--force",
        "--dry-run",
    ),
    "verify": ("BUNDLE", "--runtime", "--atol", "--json"),
    "run": ("BUNDLE", "FILE", "--output-dir", "--official-resize", "--boxes", ".overlay.png"),
    "bench": ("--threads", "--runs", "--repeat", "--device", "p50", "--resume", "emulated:CORE"),
    "compare": ("A.json", "B.json", "--fail-on SHARE", "noisy"),
    "report": ("RESULTS...", "--output FILE", "--force"),
    "list": ("--task", "--json"),
    "info": ("MODEL",),
    "inspect": (".pte", ".mlpackage"),
    "doctor": ("--json",),
    "eval": ("BUNDLE", "--data DIR|scenes", "--max-samples", "--weights FILE", "--accept-accuracy"),
    "quantize": (
        *("MODEL", "--sensitivity", "--calibration-data DIR", "--costs FILE", "--plot FILE"),
        *("--qat", "--teacher BUNDLE|MODEL", "--steps"),
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_user_needs(command: str, cli: Cli) -> None:
    told = cli(command, "--help")
    assert (told.code, told.err) == (0, "")
    for words in MENTIONED[command]:
        assert words in told.out
    examples = [line for line in told.out.splitlines() if line.startswith(f"    edgevit {command}")]
    assert len(examples) >= (2 if command in ("export", "run", "bench") else 1)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_text(command: str) -> None:
    import typer

    for parameter in typer.main.get_command(app).commands[command].params:
        assert getattr(parameter, "help", None), parameter.name


def test_the_program_lists_its_commands(cli: Cli) -> None:
    told = cli("--help")
    assert told.code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in told.out
    assert "..." not in told.out.partition("Commands:")[2]  # no summary is cut short
    assert cli("--version").out.startswith("edgevit ")


# --- processes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "import edgevit",
        "import edgevit.cli.app",
        "from edgevit.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from edgevit.cli import main\ntry: main(['export', '--help'])\nexcept SystemExit: pass",
    ],
    ids=["import", "app", "help", "export help"],
)
def test_nothing_heavy_is_loaded_for_help(code: str) -> None:
    asked = f"{code}\nimport sys\nsys.stderr.write(' '.join(sys.modules))"
    told = subprocess.run(
        (sys.executable, "-c", asked), capture_output=True, text=True, check=True
    ).stderr.split()
    assert "edgevit" in told
    assert [name for name in HEAVY if name in told] == []


def test_a_reader_that_leaves_is_no_failure() -> None:
    shell = '"$@" 2>told | head -n 1; echo "${PIPESTATUS[0]}"; cat told; rm told'
    told = subprocess.run(
        ("bash", "-c", shell, "bash", *EDGEVIT, "list", "--json", "-q"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.splitlines() == ["[", "0"]


def test_an_error_of_a_real_process_is_one_sentence() -> None:
    told = subprocess.run(
        (*EDGEVIT, "info", "topfrmer-t"), capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert told.stdout == ""
    assert told.stderr.startswith("Error: There is no model 'topfrmer-t'")
    assert told.stderr.splitlines()[1] == "Next: edgevit list"


def test_debug_shows_the_traceback() -> None:
    told = subprocess.run(
        (*EDGEVIT, "info", "topfrmer-t", "--debug"), capture_output=True, text=True, check=False
    )
    assert told.returncode == 1
    assert "Traceback" in told.stderr
