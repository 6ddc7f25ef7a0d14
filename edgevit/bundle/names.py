"""Names on their way into a bundle: of classes and keypoints, of files. One printable line each."""

import json
import unicodedata
from collections.abc import Sequence

from edgevit.errors import UsageError

LONGEST = 300  # characters; the longest of ImageNet's synsets has 121
# Bytes of all of them in the manifest, half of what its reader takes: a letter that is not ASCII
# has 6 or 12 there.
MOST_BYTES = 2 << 20
# Control characters, halves of surrogate pairs, and the two separators that end a line. Joiners and
# marks of direction stay: scripts need them.
REFUSED = ("Cc", "Cs", "Zl", "Zp")


def cleaned(name: str) -> str:
    """The name with a space for whatever no bundle holds, and for each run of spaces one."""
    return " ".join("".join(c if _fits(c) else " " for c in name).split())


def check_names(names: Sequence[str], source: str, mend: str) -> tuple[str, ...]:
    """The names as they are.

    Raises `UsageError` where one has a character that no line of text holds or is too long, or all
    are more than a manifest takes; `mend` is what to do then.
    """
    for number, name in enumerate(names, 1):
        if len(name) > LONGEST:
            raise UsageError(
                f"Name {number} of {source} has {len(name)} characters; at most {LONGEST} fit.",
                next=mend,
            )
        if not all(map(_fits, name)):
            raise UsageError(
                f"Name {number} of {source} has a control character: {ascii(name)[:60]}.",
                next=mend,
            )
    size = len(json.dumps(names, indent=1))
    if size > MOST_BYTES:
        raise UsageError(
            f"The names of {source} take {size >> 20} MiB in a manifest; at most"
            f" {MOST_BYTES >> 20} are allowed.",
            next=mend,
        )
    return tuple(names)


def _fits(character: str) -> bool:
    return unicodedata.category(character) not in REFUSED
