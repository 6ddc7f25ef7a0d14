"""action.yml: its inputs never become a part of a script, and its steps do what they say."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.native import need

ROOT = Path(__file__).resolve().parents[1]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
STEPS = {step["id"]: step for step in ACTION["runs"]["steps"]}
INPUT = re.compile(r"\$\{\{ inputs\.([\w-]+) \}\}")


def test_an_input_reaches_a_step_as_a_variable_and_is_no_script() -> None:
    used = set()
    for name, step in STEPS.items():
        assert "${{" not in step["run"], name
        assert step["shell"] == "bash"
        for variable, value in step.get("env", {}).items():
            (found,) = INPUT.fullmatch(value).groups()  # type: ignore[union-attr]
            used.add(found)
            assert f"${variable}" in step["run"], (name, variable)
    assert used == set(ACTION["inputs"])


def test_every_output_is_written_by_its_step() -> None:
    for name, output in ACTION["outputs"].items():
        step, written = re.fullmatch(
            r"\$\{\{ steps\.(\w+)\.outputs\.(\w+) \}\}", output["value"]
        ).groups()  # type: ignore[union-attr]
        assert written == name
        assert f'echo "{name}=' in STEPS[step]["run"]


def test_the_example_gives_inputs_that_exist() -> None:
    text = (ROOT / "docs" / "ci.md").read_text("utf-8")
    workflow = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    given = workflow["jobs"]["arm"]["steps"][1]["with"]
    required = {name for name, told in ACTION["inputs"].items() if told.get("required")}
    assert required <= set(given) <= set(ACTION["inputs"])


class Job:
    """Runs steps one after the other, as GitHub's runner does."""

    def __init__(self, folder: Path, **inputs: str) -> None:
        self.folder = folder
        self.inputs = {name: told.get("default", "") for name, told in ACTION["inputs"].items()}
        self.inputs |= {name.replace("_", "-"): value for name, value in inputs.items()}

    def run(self, name: str) -> subprocess.CompletedProcess[str]:
        step = STEPS[name]
        given = {k: INPUT.sub(lambda m: self.inputs[m[1]], v) for k, v in step["env"].items()}
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        outputs = {"PATH": path, "GITHUB_OUTPUT": str(self.folder / "outputs")}
        script = self.folder / "step.sh"
        script.write_text(step["run"])
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)],
            cwd=self.folder, env={**os.environ, **outputs, **given},
            capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.mark.full
def test_the_steps_export_verify_count_and_compare(tmp_path: Path) -> None:
    need("qemu-aarch64", "llvm-mca-19")
    words = "--format onnx --no-compare-speed"
    job = Job(tmp_path, model="vit-micro", arguments=words, baseline="baseline.json")
    for name in ("export", "verify", "count"):
        done = job.run(name)
        assert done.returncode == 0, done.stderr
    outputs = dict(line.split("=") for line in (tmp_path / "outputs").read_text().splitlines())
    assert set(outputs) == set(ACTION["outputs"])
    assert all((tmp_path / path).exists() for path in outputs.values())

    first = job.run("compare")
    assert first.returncode == 0
    assert "There is no baseline" in first.stdout
    result = tmp_path / outputs["result"]
    (tmp_path / "baseline.json").write_bytes(result.read_bytes())
    same = job.run("compare")
    assert (same.returncode, "same" in same.stdout) == (0, True), same.stderr
    grown = json.loads(result.read_text())
    grown["counted"][0]["instructions"] = [
        n * 102 // 100 for n in grown["counted"][0]["instructions"]
    ]
    result.write_text(json.dumps(grown))
    slower = job.run("compare")
    assert (slower.returncode, "slower" in slower.stdout) == (1, True), slower.stderr


@pytest.mark.full
def test_a_step_that_fails_ends_the_job(tmp_path: Path) -> None:
    done = Job(tmp_path, model="no-such-network; touch harm").run("export")
    assert done.returncode != 0
    assert "There is no model 'no-such-network; touch harm'" in done.stderr
    assert not (tmp_path / "harm").exists()
