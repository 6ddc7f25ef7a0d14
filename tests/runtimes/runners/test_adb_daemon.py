"""A phone over a real adbd, whose programs are ARM's; test_adb.py has what adb says of failures."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgevit.bundle.opened import Bundle
from edgevit.bundle.verify import verify_bundle
from edgevit.measure.bench import bench_bundle
from edgevit_runtimes.device import parse_device
from edgevit_runtimes.devices import open_on
from edgevit_runtimes.errors import DeviceFailed
from edgevit_runtimes.runners.adb import Adb, choose
from tests.support.phone import SERIAL, PhoneHere, running

pytestmark = pytest.mark.usefixtures("emulated_device")

DEVICE = f"adb:{SERIAL}"
QUICK = {"warmup": 0, "runs": 2, "min_secs": 0.0, "max_secs": 60.0, "repeat": 1}


@pytest.fixture(scope="module")
def started_phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PhoneHere]:
    with running(tmp_path_factory.mktemp("phone")) as phone:
        yield phone


@pytest.fixture
def phone(started_phone: PhoneHere, monkeypatch: pytest.MonkeyPatch) -> PhoneHere:
    monkeypatch.setenv("PATH", f"{started_phone.programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(Adb, "temporary", started_phone.temporary)
    return started_phone


def left_there(phone: PhoneHere) -> list[str]:
    return choose(None).run(f"ls {phone.temporary}").out.split()


def test_commands_and_files(phone: PhoneHere, tmp_path: Path) -> None:
    shell = choose(None)
    assert shell == Adb(SERIAL)
    answer = shell.run("echo out; echo err >&2; exit 7")
    assert (answer.code, answer.out, answer.err) == (7, "out\n", "err\n")
    content = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "sent").write_bytes(content)
    shell.push(tmp_path / "sent", f"{phone.temporary}/there")
    shell.pull(f"{phone.temporary}/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content
    lines: list[str] = []
    assert shell.follow("echo one; printf two; exit 3", lines.append, 20) == 3
    assert lines == ["one", "two"]
    shell.run(f"rm {phone.temporary}/there")


def test_a_bundle_is_verified_and_measured(
    phone: PhoneHere, host_bundle: Bundle, tmp_path: Path
) -> None:
    verified = verify_bundle(host_bundle, ("litert",), device=parse_device(DEVICE))
    assert verified["model.tflite"].status == "executed"
    result = bench_bundle(host_bundle.path, ["litert"], "adb", output=tmp_path / "r.json", **QUICK)
    (row,) = result.rows
    assert len(row.samples_s) >= 2
    assert row.states[0][0]["cpu_parts"] == ["0xd0d"]
    assert left_there(phone) == []


def test_a_full_phone_is_one_sentence(phone: PhoneHere, host_bundle: Bundle) -> None:
    shell = choose(None)
    shell.run(f"dd if=/dev/zero of={phone.temporary}/filler bs=1M count=50")
    try:
        with pytest.raises(DeviceFailed, match="has no space left"):
            open_on(parse_device(DEVICE), host_bundle.path / host_bundle.entry("onnx").path)
    finally:
        shell.run(f"rm {phone.temporary}/filler")
    assert left_there(phone) == []


def test_a_phone_that_goes_away_is_one_sentence(phone: PhoneHere) -> None:
    shell = choose(None)
    phone.adb("disconnect", SERIAL)
    try:
        with pytest.raises(DeviceFailed, match=r"was lost: device '.*' not found") as caught:
            shell.run("true")
        assert caught.value.next == "adb devices"
        with pytest.raises(DeviceFailed, match="adb sees no phone"):
            choose(None)
    finally:
        phone.adb("connect", SERIAL)
    assert shell.run("echo back").out == "back\n"
