"""Setting up emulated devices: refused, or made whole. Nothing here uses the network."""

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from edgevit_runtimes.cores import CORES
from edgevit_runtimes.errors import BadSetting, DeviceFailed, MissingRuntime
from edgevit_runtimes.setup import emulated as setup
from edgevit_runtimes.setup.emulated import (
    COMMAND,
    FEATURES,
    TOOLS,
    WHEELS,
    Emulated,
    Wheel,
    check_tools,
    cpuinfo,
    download,
    native_sources,
    packages,
    plan_emulated,
    require_emulated,
    setup_emulated,
    sysfs,
    unpack,
)
from edgevit_runtimes.setup.kept import MARKER


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "data" / "emulated"
    monkeypatch.setenv(setup.HOME, str(place))
    return place


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs, which is all that PATH names."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        (folder / name).write_text("#!/bin/sh\necho '-plugin FILE'\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_what_is_missing_comes_with_one_install_line(tools: Path) -> None:
    check_tools()
    (tools / "cmake").unlink()
    (tools / "aarch64-linux-gnu-g++").unlink()
    with pytest.raises(MissingRuntime) as caught:
        check_tools()
    assert caught.value.message == (
        "Emulated devices need aarch64-linux-gnu-g++, cmake, which are not installed."
    )
    assert caught.value.next == "Debian: apt-get install g++-aarch64-linux-gnu cmake"
    check_tools(("qemu-aarch64", "setarch"))


def test_an_emulator_without_plugins_is_no_use(tools: Path) -> None:
    (tools / "qemu-aarch64").write_text("#!/bin/sh\necho usage\n")
    with pytest.raises(MissingRuntime, match="takes no plugins"):
        check_tools()


def test_nothing_is_made_where_a_tool_is_missing(home: Path, tools: Path) -> None:
    (tools / "cc").unlink()
    with pytest.raises(MissingRuntime):
        setup_emulated()
    assert not home.parent.exists()


def test_what_is_there_is_found(home: Path, tools: Path) -> None:
    with pytest.raises(MissingRuntime, match="is not set up") as caught:
        require_emulated()
    assert caught.value.next == COMMAND
    home.mkdir(parents=True)
    (home / MARKER).write_text(json.dumps({"layout": setup.LAYOUT, "packages": packages()}))
    assert require_emulated() == Emulated(home)
    assert setup_emulated() == (Emulated(home), "found")
    (home / MARKER).write_text(json.dumps({"layout": 0, "packages": packages()}))
    with pytest.raises(MissingRuntime, match="no longer works") as caught:
        require_emulated()
    assert caught.value.next == f"{COMMAND} --force"
    (home / MARKER).unlink()
    (home / "photo.jpg").touch()
    with pytest.raises(BadSetting, match="files that edgevit did not make"):
        setup_emulated(force=True)


def test_a_step_that_fails_leaves_nothing(
    home: Path, tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "copy_sysroot", lambda place: (place / "sysroot").mkdir())

    def fail(folder: Path) -> None:
        raise DeviceFailed("no network")

    monkeypatch.setattr(setup, "download", fail)
    told: list[str] = []
    with pytest.raises(DeviceFailed, match="no network"):
        setup_emulated(report=told.append)
    assert told == ["copy the C library of the cross compiler", "download the ARM wheels"]
    assert list(home.parent.iterdir()) == []


def test_all_steps_in_their_order(home: Path, tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "copy_sysroot", lambda place: None)
    monkeypatch.setattr(setup, "download", lambda folder: folder.mkdir())
    monkeypatch.setattr(setup, "unpack", lambda wheel, folder, place: None)
    monkeypatch.setattr(setup, "build", lambda place: (place / "include").mkdir())
    checked: list[Path] = []
    monkeypatch.setattr(setup, "check", lambda environment: checked.append(environment.path))
    assert setup_emulated() == (Emulated(home), "made")
    assert [path.parent for path in checked] == [home.parent]  # before it was renamed
    assert [path.name for path in home.iterdir()] == [MARKER]
    marker = json.loads((home / MARKER).read_text())
    assert marker["packages"] == packages()
    assert marker["emulator"] == "-plugin FILE"


def test_the_plan_names_all_that_is_downloaded(home: Path) -> None:
    plan = plan_emulated()
    assert all(f"{wheel.package} {wheel.version}" in plan for wheel in WHEELS)
    assert str(home) in plan


def test_the_versions_are_those_that_files_are_exported_with() -> None:
    lock = (Path(__file__).parents[3] / "requirements.lock").read_text()
    for wheel in WHEELS:
        assert f"\n{wheel.package}=={wheel.version}" in lock, wheel.package


def test_pip_is_asked_for_the_hashes_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    download(tmp_path / "wheels")
    (command,) = seen
    assert {"--require-hashes", "--no-deps", ":all:"} <= set(command)
    text = (tmp_path / "wheels" / "requirements.txt").read_text()
    assert text.count("--hash=sha256:") == len(WHEELS)


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        ("ERROR: no matching version\n", DeviceFailed, "could not download the ARM wheels: no"),
        ("python: No module named pip\n", MissingRuntime, "has no pip"),
    ],
)
def test_a_download_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, kind: type, message: str
) -> None:
    done = subprocess.CompletedProcess([], 1, "", said)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    with pytest.raises(kind, match=message):
        download(tmp_path / "wheels")


def wheel_of(folder: Path, *names: str) -> Callable[[dict[str, str]], Wheel]:
    folder.mkdir()
    with zipfile.ZipFile(folder / "some_package-1.0-cp311-x.whl", "w") as archive:
        for name in names:
            archive.writestr(name, name.encode())
    return lambda members: Wheel("some", "some-package", "1.0", "", 1, members)


def test_only_what_is_named_is_taken_out(tmp_path: Path) -> None:
    made = wheel_of(tmp_path / "w", "a/lib.so", "a/other.so", "a/include/x/y.h", "a/include/z.py")
    unpack(made({"a/lib.so": "lib/one.so", "a/include/": "include/"}), tmp_path / "w", tmp_path)
    assert (tmp_path / "lib" / "one.so").read_bytes() == b"a/lib.so"
    taken = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()}
    assert taken == {"w/some_package-1.0-cp311-x.whl", "lib/one.so", "include/x/y.h"}


def test_a_wheel_without_the_library_or_with_a_way_out_is_refused(tmp_path: Path) -> None:
    made = wheel_of(tmp_path / "w", "a/include/../../../evil.h")
    with pytest.raises(DeviceFailed, match=r"does not hold a/lib\.so"):
        unpack(made({"a/lib.so": "lib/one.so"}), tmp_path / "w", tmp_path)
    with pytest.raises(DeviceFailed, match="is refused"):
        unpack(made({"a/include/": "include/"}), tmp_path / "w", tmp_path)
    assert not (tmp_path.parent / "evil.h").exists()


def test_cpuinfo_is_what_an_arm_kernel_says() -> None:
    text = cpuinfo(CORES["cortex-a77"])
    assert "CPU part\t: 0xd0d\n" in text
    assert "asimddp" in FEATURES
    assert f"Features\t: {FEATURES}\n" in text
    assert text.endswith("\n\n")  # the end of a processor's entry


def test_sysfs_is_the_cores_own() -> None:
    files = sysfs(CORES["neoverse-n1"])
    assert (files["present"], files["possible"]) == ("0", "0")
    assert files["cpu0/cpufreq/cpuinfo_max_freq"] == "2500000"
    assert files["cpu0/cache/index2/size"] == "1024K"


def test_a_command_is_the_same_every_time(tmp_path: Path) -> None:
    environment = Emulated(tmp_path)
    command = environment.command(CORES["cortex-x1"], Path("program"), "--model", Path("m"))
    assert command[:5] == ["setarch", "-R", "qemu-aarch64", "-seed", "1"]
    assert command[-3:] == ["program", "--model", "m"]
    assert str(tmp_path / "cores" / "cortex-x1") in command
    assert environment.library("executorch") is None
    assert environment.library("litert") == tmp_path / "lib" / "libLiteRt.so"


def test_the_sources_are_there() -> None:
    assert (native_sources() / "runner" / "main.c").is_file()


@pytest.mark.usefixtures("emulated_device")
def test_a_library_that_does_not_load_is_noticed(tmp_path: Path) -> None:
    """The last step of setting up, on a copy whose library is broken."""
    environment = require_emulated()
    copy = tmp_path / "copy"
    shutil.copytree(environment.path, copy, symlinks=True)
    setup.check(Emulated(copy))
    library = copy / "lib" / "libLiteRt.so"
    library.write_bytes(b"no library")
    with pytest.raises(DeviceFailed, match="ai-edge-litert for ARM was set up and does not start"):
        setup.check(Emulated(copy))
