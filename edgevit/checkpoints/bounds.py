"""The limits that hold for every checkpoint file, and the one refusal that all readers raise."""

MIB = 1 << 20
GIB = 1 << 30

FILE_BYTES = 8 * GIB
PICKLE_BYTES = 2048 * MIB  # of a torch file; tensors lie outside its pickle, numpy arrays inside
PLAIN_PICKLE_BYTES = 4 * GIB  # of a .pkl, whose arrays lie inside it
OPCODES = 2 << 20  # bounds time and memory: a one-byte opcode can make a 216-byte object
INTEGER_BYTES = 64  # of one pickled integer
NAME_BYTES = 1024  # of one global's or one tensor's name
ARCHIVE_MEMBERS = 200_000
DIRECTORY_BYTES = 64 * MIB  # of a zip's central directory
EXPANSION = 64  # times the archive's size that its deflated members may grow to, all together
TENSORS = 100_000
RANK = 16
DIMENSION = 1 << 40
COPIES = 4  # times the file's size that its tensors may take, because tied weights share a storage
HEADER_BYTES = 16 * MIB  # of a .safetensors file
META_ENTRIES = 256
META_VALUES = 20_000  # in one entry
META_DEPTH = 8
META_BYTES = 4 * MIB  # of text in one entry


class Unreadable(Exception):
    """Why a file is not read, as the rest of a sentence that starts with the file's name.

    `next` is what gets the user further, where this refusal knows better than the reader.
    """

    def __init__(self, why: str, *, next: str | None = None) -> None:  # noqa: A002 - the user-facing word
        super().__init__(why)
        self.why = why
        self.next = next


def shown(text: object, limit: int = 80) -> str:
    """Text from a file made fit for a terminal: printable, at most `limit` characters."""
    plain = "".join(c if c.isprintable() else "?" for c in str(text)[: limit + 1])
    return plain if len(plain) <= limit else plain[: limit - 3] + "..."


def listed(names: list[str], limit: int = 5, width: int = 80) -> str:
    """`a, b, c and 7 more`: the first `limit` names."""
    first = [shown(name, width) for name in names[:limit]]
    more = len(names) - len(first)
    if more:
        return f"{', '.join(first)} and {more} more"
    return " and ".join([", ".join(first[:-1]), first[-1]]) if len(first) > 1 else "".join(first)
