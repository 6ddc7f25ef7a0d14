"""Finds the tensors among all that a training run saved, and the small values beside them."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from edgevit.checkpoints.bounds import (
    META_BYTES,
    META_DEPTH,
    META_ENTRIES,
    META_VALUES,
    NAME_BYTES,
    TENSORS,
    Unreadable,
    listed,
    shown,
)
from edgevit.checkpoints.values import Inert, LazyTensor, Leaf, PickledArray, is_leaf

DEPTH = 3  # of containers: {'model': {'state_dict': {...}}}
Named = TypeVar("Named")
PARALLEL = "module."  # what torch.nn.DataParallel puts before every name


@dataclass(frozen=True, slots=True)
class Choice:
    """The tensors that were chosen, and the keys that lead to them (none: they lay at the top)."""

    path: tuple[str, ...]
    leaves: Mapping[str, Leaf]


def choose(root: object, prefer: tuple[str, ...]) -> Choice:
    """The first of `prefer` that holds tensors, down to three levels, else the bare dictionary.

    A bare dictionary is taken only where no dictionary of tensors lies inside it: which of several
    is the network cannot be guessed. Raises `Unreadable`.
    """
    if not isinstance(root, dict):
        raise Unreadable("holds no dictionary of tensors at its top")
    path = _find(root, prefer, DEPTH)
    if path is None:
        raise Unreadable(_nothing(root, prefer))
    found = root
    for key in path:
        found = found[key]
    leaves: dict[str, Leaf] = {}
    for key, value in found.items():
        if isinstance(value, LazyTensor) or (isinstance(value, PickledArray) and value.is_number):
            if not isinstance(key, str) or len(key) > NAME_BYTES:
                raise Unreadable(
                    f"holds a tensor under {shown(key)!r}, which is not a parameter name"
                )
            leaves[key] = value
    if len(leaves) > TENSORS:
        raise Unreadable(f"holds {len(leaves)} tensors, more than edgevit reads")
    return Choice(path, without_parallel(leaves))


def _find(
    value: dict[object, object], prefer: tuple[str, ...], depth: int
) -> tuple[str, ...] | None:
    """The way from a dictionary to the tensors, or None."""
    if depth:
        for key in prefer:
            inner = value.get(key)
            if isinstance(inner, dict):
                rest = _find(inner, prefer, depth - 1)
                if rest is not None:
                    return (key, *rest)
    inside = any(isinstance(inner, dict) and _tensors(inner) for inner in value.values())
    return () if _tensors(value) and not inside else None


def _tensors(value: dict[object, object]) -> int:
    return sum(is_leaf(inner) for inner in value.values())


def _nothing(root: dict[object, object], prefer: tuple[str, ...]) -> str:
    counts = {str(k): _tensors(v) for k, v in root.items() if isinstance(v, dict)}
    others = [f"{name} ({count} tensors)" for name, count in counts.items() if count]
    names = others or [str(key) for key in root]
    has = f"; it has {listed(names)}" if names else "; it is empty inside"
    return f"holds no tensors under {' or '.join(prefer) or 'its top'}{has}"


def without_parallel(named: Mapping[str, Named]) -> dict[str, Named]:
    """The same values without DataParallel's prefix, where every name has it."""
    if named and all(name.startswith(PARALLEL) and name != PARALLEL for name in named):
        return {name.removeprefix(PARALLEL): value for name, value in named.items()}
    return dict(named)


class _Omitted(Exception):
    pass


@dataclass(slots=True)
class _Purse:
    values: int = META_VALUES
    text: int = META_BYTES


def collect_meta(root: object, choice: Choice) -> dict[str, object]:
    """The small values beside the tensors: mmcv's `meta`, then the other entries at the top.

    Lists become tuples, a Namespace a dictionary, small numpy arrays tuples; an entry with a tensor
    in it is left out, as is one that is large or deep.
    """
    if not isinstance(root, dict):
        return {}
    taken = choice.path[0] if choice.path else None
    entries: dict[str, object] = {}
    meta = root.get("meta")
    if isinstance(meta, dict) and taken != "meta":
        entries.update({key: value for key, value in meta.items() if isinstance(key, str)})
    for key, value in root.items():
        if isinstance(key, str) and key not in entries and key not in ("meta", taken):
            entries[key] = value
    result = {}
    for key, value in islice(entries.items(), META_ENTRIES):
        try:
            result[key] = _plain(value, _Purse(), META_DEPTH)
        except _Omitted:
            continue
    return result


def _plain(value: object, purse: _Purse, depth: int) -> object:
    purse.values -= 1
    if purse.values < 0 or depth < 0:
        raise _Omitted
    match value:
        case None | bool() | int() | float():
            return value
        case str() | bytes():
            if len(value) > purse.text:
                raise _Omitted
            purse.text -= len(value)
            return value
        case list() | tuple():
            return tuple(_plain(item, purse, depth - 1) for item in value)
        case set() | frozenset():
            return frozenset(value)
        case dict():
            return {key: _plain(item, purse, depth - 1) for key, item in value.items()}
        case Inert():
            return _plain(value.fields, purse, depth - 1)
        case PickledArray():
            return _plain(_listed_array(value), purse, depth - 1)
        case _:
            raise _Omitted


def _listed_array(value: PickledArray) -> object:
    """A small array as nested lists, a scalar as itself."""
    if value.type is None or len(value.data) > META_VALUES:
        raise _Omitted
    if value.type.code.startswith("U"):
        try:
            str(value.data, "utf-32-le")
        except UnicodeDecodeError:  # numpy would meet it too, less gently
            raise _Omitted from None
    listed_values: object = value.array().tolist()
    return listed_values
