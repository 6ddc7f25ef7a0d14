"""docs/benchmarks.md in parts, each written by the script that measured it, and their tables."""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MARKERS = ("<!-- begin {name} -->", "<!-- end {name} -->")
BUSY = 0.3  # load average from which a result is doubtful


def write_part(path: Path, name: str, text: str) -> None:
    """Put `text` between the two comments of this part, or append them; the rest stays as it is.

    Raises `SystemExit` where the page's comments do not enclose exactly one such part.
    """
    begin, end = (marker.format(name=name) for marker in MARKERS)
    part = f"{begin}\n\n{text.strip()}\n\n{end}\n"
    page = path.read_text("utf-8") if path.exists() else ""
    if begin not in page and end not in page:
        path.write_text(f"{page.rstrip()}\n\n{part}" if page.strip() else part, "utf-8")
        return
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    if page.count(begin) != 1 or page.count(end) != 1 or not rest or end in before:
        raise SystemExit(f"{path} does not have `{begin}` and `{end}` once each, in this order.")
    path.write_text(before + part + after.removeprefix("\n"), "utf-8")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as Markdown has it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown_list(lines: Sequence[str]) -> str:
    """Sentences as a list, wrapped as prose is."""
    return "\n".join(
        textwrap.fill(f"- {line}", 100, subsequent_indent="  ", break_long_words=False)
        for line in lines
    )


def aligned_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a terminal."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in (columns, *rows))
    return "\n".join(lines)


def machine_table(machine: Mapping[str, Any], commit: str) -> str:
    """What the numbers were measured on, and with which code."""
    facts = {
        "CPU": f"{machine['cpu']}, {machine['usable_cores']} cores usable",
        "kernels": ", ".join(machine["cpu_flags"] or ("unknown",)),
        "system": f"{machine['os']}, Python {machine['python']}",
        "load average before": ", ".join(map(str, machine["load_average"] or ("unknown",))),
        "commit": commit,
    }
    return markdown_table(("", ""), [[name, text] for name, text in facts.items()])


def versions_table(versions: Mapping[str, str]) -> str:
    """Packages and their versions."""
    return markdown_table(("package", "version"), [[name, v] for name, v in versions.items()])


def architecture(machine: Mapping[str, Any]) -> str:
    """The processor's architecture as prose has it."""
    return str(machine["machine"]).replace("x86_64", "x86-64")


def warn_if_busy(machine: Mapping[str, Any]) -> None:
    """Say on the terminal that other work disturbed the measurement."""
    load = (machine["load_average"] or [0.0])[0]
    if load > BUSY:
        print(f"The machine was busy (load {load}) before this: measure again when it is idle.")
