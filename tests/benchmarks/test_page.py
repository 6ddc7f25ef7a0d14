from pathlib import Path

import pytest

from benchmarks import models_latency, topformer_latency
from benchmarks.page import aligned_table, markdown_list, markdown_table, write_part

ROOT = Path(__file__).resolve().parents[2]


def test_a_part_is_appended_and_then_replaced_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nBy hand.\n", "utf-8")
    write_part(page, "first", "one\n")
    write_part(page, "second", "two")
    first = "<!-- begin first -->\n\none\n\n<!-- end first -->\n"
    second = "<!-- begin second -->\n\ntwo\n\n<!-- end second -->\n"
    whole = f"# Title\n\nBy hand.\n\n{first}\n{second}"
    assert page.read_text("utf-8") == whole
    write_part(page, "first", "one")
    assert page.read_text("utf-8") == whole
    write_part(page, "first", "1\n\n2")
    assert page.read_text("utf-8") == whole.replace("one", "1\n\n2")


def test_a_part_can_be_a_page_of_its_own(tmp_path: Path) -> None:
    write_part(tmp_path / "page.md", "only", "text")
    whole = (tmp_path / "page.md").read_text("utf-8")
    assert whole == "<!-- begin only -->\n\ntext\n\n<!-- end only -->\n"


@pytest.mark.parametrize(
    "held",
    [
        "<!-- begin a -->\n",
        "<!-- end a -->\n",
        "<!-- end a -->\n<!-- begin a -->\n",
        2 * "<!-- begin a -->\n<!-- end a -->\n",
        "<!-- begin a -->\n<!-- end a -->\n<!-- end a -->\n",
    ],
)
def test_comments_that_enclose_no_part_are_refused(held: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(held, "utf-8")
    with pytest.raises(SystemExit, match=r"once each, in this order"):
        write_part(page, "a", "text")
    assert page.read_text("utf-8") == held


def test_the_page_in_docs_can_be_written_by_both_scripts(tmp_path: Path) -> None:
    held = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    page = tmp_path / "page.md"
    page.write_text(held, "utf-8")
    write_part(page, models_latency.PART, "the other networks")
    written = page.read_text("utf-8")
    assert "the other networks" in written
    assert f"<!-- begin {topformer_latency.PART} -->" in held
    head, begin, _ = held.partition(f"<!-- begin {topformer_latency.PART} -->")
    assert written.startswith(head + begin)
    assert written.count("## TopFormer-T\n") == held.count("## TopFormer-T\n") == 1


def test_tables_have_a_line_a_row() -> None:
    columns, rows = ("a", "long"), [["1", "2"], ["333", "4"]]
    assert markdown_table(columns, rows).splitlines() == [
        "| a | long |",
        "| --- | --- |",
        "| 1 | 2 |",
        "| 333 | 4 |",
    ]
    assert aligned_table(columns, rows).splitlines() == ["a    long", "1    2", "333  4"]


def test_lists_are_wrapped_without_breaking_words() -> None:
    lines = markdown_list(["word " * 40, "x" * 120]).splitlines()
    assert lines[0].startswith("- word")
    assert lines[1].startswith("  word")
    assert max(map(len, lines[:-2])) <= 100
    assert "x" * 120 in lines[-1]
