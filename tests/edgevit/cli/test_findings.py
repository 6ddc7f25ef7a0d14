import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from edgevit.cli import findings as doctor
from edgevit.cli.findings import Need
from edgevit.tasks.pixels import library
from edgevit_runtimes.setup import emulated
from edgevit_runtimes.setup import tflite as setup
from edgevit_runtimes.setup.kept import MARKER
from tests.support.native import built
from tests.support.once import Shared

LINES = [
    "numpy<2.4,>=2",
    "rich>=13",
    "onnx==1.23.2; extra == 'onnx'",
    "Onnx_Sim (==0.8.1) ; extra=='onnx'",
    'torch[opt]==2.13.0; (python_version >= "3.11") and extra == "torch"',
]
NEEDS = doctor.parse_needs(LINES)
GOOD = {"numpy": "2.3.5", "rich": "15.0.0", "onnx": "1.23.2", "onnx-sim": "0.8.1"}


def test_metadata_lines_are_taken_apart() -> None:
    assert doctor.parse_needs(LINES) == (
        Need("numpy", "<2.4,>=2", ""),
        Need("rich", ">=13", ""),
        Need("onnx", "==1.23.2", "onnx"),
        Need("onnx-sim", "==0.8.1", "onnx"),
        Need("torch", "==2.13.0", "torch"),
    )


def test_a_complete_extra_is_ok_and_lists_its_versions() -> None:
    found = doctor.check_extra("onnx", NEEDS, GOOD)
    assert (found.state, found.fix) == ("ok", None)
    assert found.detail == "onnx 1.23.2, onnx-sim 0.8.1"


def test_an_incomplete_extra_gives_the_install_line() -> None:
    found = doctor.check_extra("torch", NEEDS, GOOD)
    assert (found.state, found.fix) == ("missing", "pip install 'edgevit[torch]'")
    assert found.detail == "not installed: torch"


def test_another_version_than_the_tested_one_is_a_warning() -> None:
    found = doctor.check_extra("onnx", NEEDS, GOOD | {"onnx": "1.22.0"})
    assert found.state == "warning"
    assert "onnx 1.22.0 (tested with 1.23.2)" in found.detail
    assert found.fix == "pip install 'edgevit[onnx]'"


def test_edgevit_without_metadata_is_said_to_be_a_source_tree() -> None:
    assert doctor.check_edgevit({}, ()).state == "warning"
    assert doctor.check_edgevit(GOOD | {"edgevit": "0.1.0"}, NEEDS).state == "ok"
    assert doctor.check_edgevit({"edgevit": "0.1.0"}, NEEDS).fix == "pip install edgevit"


@pytest.mark.parametrize(
    ("version", "bounds", "expected"),
    [
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13.1", "==2.13.0", False),
        ("9.0", "==9", True),
        ("2.3.5", ">=2,<2.4", True),
        ("2.4.0rc1", ">=2,<2.4", False),
        ("1.26.4", ">=2,<2.4", False),
        ("25.2.0", "<26", True),
        ("26.1", "<26", False),
        ("3.10", ">=3.9", True),
        ("1.0", "", True),
    ],
)
def test_bounds(version: str, bounds: str, expected: bool) -> None:
    need = Need("x", bounds, "x")
    found = doctor.check_extra("x", (need,), {"x": version})
    assert (found.state == "ok") is expected


def test_conflicts_are_found_only_beside_their_victim() -> None:
    assert doctor.check_conflicts({"numpy": "2.3.5", "coremltools": "9.0"}) == ()
    assert doctor.check_conflicts({"numpy": "2.4.1"}) == ()
    numpy, cattrs = doctor.check_conflicts(
        {"numpy": "2.4.1", "coremltools": "9.0", "cattrs": "26.1.0", "litert-torch": "0.10.0"}
    )
    assert (numpy.state, numpy.fix) == ("warning", "pip install 'numpy<2.4'")
    assert (cattrs.state, cattrs.fix) == ("warning", "pip install 'cattrs<26'")


class FakeTorch:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = [SimpleNamespace(size=1_200_000_000), SimpleNamespace(size=None)]

    def locate_file(self, path: str) -> Path:
        return self.root / path


@pytest.mark.parametrize(
    ("text", "build", "state"),
    [
        ("cuda: Optional[str] = None\nhip: Optional[str] = None\n", "CPU", "ok"),
        ("debug = False\ncuda: Optional[str] = '13.0'\nhip = None\n", "CUDA 13.0", "warning"),
        ("cuda = None\nhip: Optional[str] = '7.0.51831'\n", "ROCm 7.0.51831", "ok"),
        (None, "unknown", "ok"),
    ],
)
def test_the_build_of_torch_is_read_from_its_version_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, build: str, state: str
) -> None:
    (tmp_path / "torch").mkdir()
    if text is not None:
        (tmp_path / "torch" / "version.py").write_text(text)
    monkeypatch.setattr(doctor, "distribution", lambda name: FakeTorch(tmp_path))
    found = doctor.check_torch({"torch": "2.13.0", "nvidia-cudnn": "9"})
    assert (doctor.torch_build(), found.state) == (build, state)
    assert ("2.4 GB" if state == "warning" else "1.2 GB") in found.detail


def test_no_torch_is_missing_with_its_install_line() -> None:
    found = doctor.check_torch({})
    assert (found.state, found.fix) == ("missing", "pip install 'edgevit[torch]'")


def test_little_space_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10**8))
    found = doctor.check_disk("disk", lambda: tmp_path)
    assert found.state == "warning"
    assert found.detail.startswith("0.1 GB free in ")


def test_a_folder_that_is_gone_is_a_warning(tmp_path: Path) -> None:
    found = doctor.check_disk("disk", lambda: tmp_path / "gone")
    assert found.state == "warning"
    assert "No such file" in found.detail


def test_old_python_is_refused() -> None:
    states = [
        doctor.check_python(version).state for version in [(3, 10, 4), (3, 11, 0), (3, 12, 1)]
    ]
    assert states == ["missing", "ok", "ok"]


def test_a_tool_that_is_missing_says_what_it_is_for() -> None:
    found = doctor.check_tool("adb", "phones", "adb", None)
    assert (found.state, found.fix) == ("missing", "Debian: apt-get install adb")
    assert "phones" in found.detail
    assert doctor.check_tool("adb", "phones", "adb", "/usr/bin/adb").state == "ok"


def test_the_side_environment_is_shown_with_its_command(pretended, monkeypatch, tmp_path):
    monkeypatch.setenv(setup.HOME, str(tmp_path / "absent"))
    found = doctor.check_tflite()
    assert (found.state, found.fix) == ("missing", "edgevit device setup tflite")
    place = pretended()
    found = doctor.check_tflite()
    assert (found.state, found.fix) == ("ok", None)
    assert found.detail.startswith(f"{place}, ")
    (place / "bin" / "python").unlink()
    found = doctor.check_tflite()
    assert (found.state, found.fix) == ("warning", "edgevit device setup tflite --force")
    (place / MARKER).unlink()
    assert (doctor.check_tflite().state, doctor.check_tflite().detail) == (
        "warning",
        f"{place} holds other files",
    )


@pytest.mark.parametrize(
    ("environment", "state"),
    [
        ({"ORT_DISABLE_TELEMETRY": "1"}, "ok"),
        ({}, "ok"),
        ({"ORT_DISABLE_TELEMETRY": "0"}, "warning"),
    ],
)
def test_telemetry(environment: dict[str, str], state: str) -> None:
    assert doctor.check_telemetry({"onnxruntime": "1.31.1"}, environment).state == state


def test_every_fix_belongs_to_a_problem_and_every_name_is_there_once() -> None:
    findings = doctor.examine()
    assert len({finding.name for finding in findings}) == len(findings)
    for finding in findings:
        assert (finding.fix is None) == (finding.state == "ok"), finding


def test_arm_devices_are_set_up_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "arm"
    monkeypatch.setenv(emulated.HOME, str(place))
    found = doctor.check_emulated()
    assert (found.state, found.fix) == ("missing", emulated.COMMAND)
    place.mkdir()
    (place / "other").touch()
    assert doctor.check_emulated().fix == f"{emulated.HOME}=DIR {emulated.COMMAND}"
    (place / MARKER).write_text("{}")
    found = doctor.check_emulated()
    assert (found.state, found.fix) == ("warning", f"{emulated.COMMAND} --force")
    marker = {"layout": emulated.LAYOUT, "packages": emulated.packages()}
    (place / MARKER).write_text(json.dumps(marker))
    assert doctor.check_emulated().state == "ok"
    monkeypatch.delenv(emulated.HOME)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)

    def homeless(*_: object) -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert doctor.check_emulated().state == "warning"


def test_the_native_core_is_built_or_not_or_broken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shared: Shared
) -> None:
    monkeypatch.delenv(library.VARIABLE, raising=False)
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "none.so")
    assert (doctor.check_core().state, doctor.check_core().fix) == ("missing", "make native")
    monkeypatch.setenv(library.VARIABLE, str(tmp_path))
    assert (doctor.check_core().state, doctor.check_core().fix) == ("warning", "make native")
    built_library = built(shared, "host") / "core" / "libedgevit_core.so"
    monkeypatch.setenv(library.VARIABLE, str(built_library))
    assert doctor.check_core().state == "ok"
    assert re.search(r"(scalar|neon) kernels, for exact masks", doctor.check_core().detail)


def test_examining_loads_no_heavy_package_and_asks_no_network() -> None:
    code = """
import json, sys
touched = []
sys.addaudithook(lambda event, _: touched.append(event) if event.startswith("socket.") else None)
from edgevit.cli.findings import examine
from edgevit.cli.views.doctor import doctor_facts
report = doctor_facts(examine())
heavy = {"torch", "numpy", "onnx", "onnxruntime", "executorch"} & set(sys.modules)
print(json.dumps([report, touched, sorted(heavy)]))
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
    report, touched, heavy = json.loads(done.stdout)
    assert (touched, heavy) == ([], [])
    assert report["schema"] == 1
    assert {"name", "state", "detail", "fix"} == set(report["findings"][0])
