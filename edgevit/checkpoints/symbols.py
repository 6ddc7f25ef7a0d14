"""The names that a pickle may use and what each builds here; no other is taken, none imported."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edgevit.checkpoints.bounds import Unreadable
from edgevit.checkpoints.values import (
    ITEM_BYTES,
    ArrayType,
    Inert,
    LazyTensor,
    Marker,
    PickledArray,
    array_type,
    dimensions,
    fill_array,
    latin1,
    lazy_tensor,
)

KEY_BOUND = 1 << 60


@dataclass(frozen=True, slots=True, eq=False)
class Symbol:
    """A name that a pickle may call: `build` is ours and checks its arguments."""

    name: str
    build: Callable[..., object]


def check_key(key: object) -> None:
    """Keys and set members are plain values: hashing a deep tuple would overflow the C stack.

    Integers stay below Python's hash modulus, above which as many as one likes share one hash.
    """
    for part in key if type(key) is tuple else (key,):
        if type(part) is int and abs(part) < KEY_BOUND:
            continue
        if part is not None and type(part) not in (str, float, bool, bytes):
            raise Unreadable("uses something other than plain values as a dictionary's key")


def _mapping(pairs: object = ()) -> dict[object, object]:
    if type(pairs) is dict:
        return dict(pairs)
    if not isinstance(pairs, list | tuple):
        raise Unreadable("holds a broken dictionary")
    result: dict[object, object] = {}
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Unreadable("holds a broken dictionary")
        check_key(pair[0])
        result[pair[0]] = pair[1]
    return result


def _default_mapping(factory: object = None, pairs: object = ()) -> dict[object, object]:
    if factory is not None and not isinstance(factory, Marker):
        raise Unreadable("holds a defaultdict with a factory that edgevit does not run")
    return _mapping(pairs)


def _members(values: object = ()) -> set[object]:
    if not isinstance(values, list | tuple):
        raise Unreadable("holds a broken set")
    for value in values:
        check_key(value)
    return set(values)


def _frozen_members(values: object = ()) -> frozenset[object]:
    return frozenset(_members(values))


def _namespace() -> Inert:
    return Inert("argparse.Namespace")


def _encoded(text: object, encoding: object = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise Unreadable("encodes text in a way that edgevit does not read")
    return latin1(text)


def _no_bytes() -> bytes:
    return b""  # how protocol 2 writes bytes where there are none


def _dtype(code: object, align: object = False, copy: object = True) -> ArrayType:
    return array_type(code)


def _empty_array(kind: object, shape: object, code: object) -> PickledArray:
    if not isinstance(kind, Marker) or kind.name != "numpy.ndarray":
        raise Unreadable("holds an array of a class that edgevit does not read")
    return PickledArray()


def _scalar(kind: object, data: object = b"") -> PickledArray:
    return fill_array(PickledArray(), kind, (), False, data)


def _array_of(data: object, kind: object, shape: object, order: object = "C") -> PickledArray:
    return fill_array(PickledArray(), kind, shape, order == "F", data)


def _tensor(
    storage: object,
    offset: object,
    size: object,
    stride: object,
    requires_grad: object = False,
    hooks: object = None,
    metadata: object = None,
) -> LazyTensor:
    if metadata:
        raise Unreadable("holds a conjugated or negated view, which edgevit does not read")
    return lazy_tensor(storage, offset, size, stride)


def _parameter(
    data: object = None, requires_grad: object = True, hooks: object = None, state: object = None
) -> LazyTensor:
    if not isinstance(data, LazyTensor):
        raise Unreadable("holds a parameter without a tensor")
    return data


def _device(kind: object, index: object = None) -> str:
    if type(kind) is not str or not (index is None or type(index) is int):
        raise Unreadable("names a broken torch.device")
    return kind if index is None else f"{kind}:{index}"


def _size(sizes: object = ()) -> tuple[int, ...]:
    return dimensions(tuple(sizes) if isinstance(sizes, list) else sizes, "torch.Size")


STORAGES = {
    "Double": "float64",
    "Float": "float32",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
}

CALLED: Mapping[str, Callable[..., object]] = {
    "collections.OrderedDict": _mapping,
    "collections.Counter": _mapping,  # the milestones of a learning rate schedule
    "collections.defaultdict": _default_mapping,
    "builtins.set": _members,
    "builtins.frozenset": _frozen_members,
    "builtins.bytes": _no_bytes,
    "argparse.Namespace": _namespace,
    "_codecs.encode": _encoded,  # how protocol 2 writes bytes
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": _empty_array,
    "numpy._core.multiarray._reconstruct": _empty_array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _array_of,  # protocol 5
    "numpy._core.numeric._frombuffer": _array_of,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.device": _device,
    "torch.Size": _size,
}

MARKERS = (
    *(f"builtins.{name}" for name in ("dict", "list", "int", "float")),
    "numpy.ndarray",
    *(f"torch.{name}" for name in ITEM_BYTES),
)

SYMBOLS: Mapping[str, Symbol | Marker] = MappingProxyType(
    {
        **{name: Symbol(name, build) for name, build in CALLED.items()},
        **{name: Marker(name) for name in MARKERS},
        **{
            f"{module}.{name}Storage": Marker(f"torch.{name}Storage", dtype)
            for module in ("torch", "torch.cuda")
            for name, dtype in STORAGES.items()
        },
        "torch.storage.UntypedStorage": Marker("torch.UntypedStorage", "uint8"),
        "torch.UntypedStorage": Marker("torch.UntypedStorage", "uint8"),
    }
)
