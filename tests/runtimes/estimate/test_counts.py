from pathlib import Path

import pytest

from edgevit_runtimes.errors import RunFailed
from edgevit_runtimes.estimate import counts as module
from edgevit_runtimes.estimate.counts import Block, Traffic, read_counts

GOOD = """edgevit-count 1
5500000820 3 f1000421d65f03c0 memcpy
5500000900 100 d503201f -
end 1 106
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "counts"
    path.write_text(text)
    return path


def test_blocks_come_with_the_most_instructions_first(tmp_path: Path) -> None:
    counts = read_counts(written(tmp_path, GOOD))
    assert counts.blocks == (
        Block(0x5500000900, 100, (0xD503201F,), None),
        Block(0x5500000820, 3, (0xF1000421, 0xD65F03C0), "memcpy"),
    )
    assert (counts.instructions, counts.regions) == (106, 1)


def test_traffic_is_read_where_caches_were_modelled(tmp_path: Path) -> None:
    assert read_counts(written(tmp_path, GOOD)).traffic is None
    text = GOOD.replace("end 1", "caches 90 10 3 7 2 5 1\nend 1")
    traffic = read_counts(written(tmp_path, text)).traffic
    assert traffic == Traffic(90, (10, 7, 5), (3, 2, 1))
    assert traffic.lines == (13, 9, 6)
    with pytest.raises(RunFailed, match="a line that is none"):
        read_counts(written(tmp_path, text.replace("90 10", "90")))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (GOOD, "", "broken off"),
        ("edgevit-count 1", "edgevit-count 2", "broken off"),
        ("end 1 106\n", "", "broken off"),
        ("end 1 106", "end 1 10", "do not add up"),
        (" 100 ", " 1e2 ", "a line that is none"),
        ("d503201f -", "d503201 -", "a line that is none"),
        ("d503201f -", "d503201f", "a line that is none"),
        (" 3 f", " " + "9" * 30 + " f", "a line that is none"),
        ("end 1", "end 0", "did not mark"),
    ],
)
def test_what_is_no_count_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(RunFailed, match=message):
        read_counts(written(tmp_path, GOOD.replace(old, new)))


def test_a_file_that_is_not_there_or_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunFailed, match="No such file"):
        read_counts(tmp_path / "none")
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    with pytest.raises(RunFailed, match="more than 10 bytes"):
        read_counts(written(tmp_path, GOOD))
