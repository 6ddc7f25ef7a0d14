"""The command line: parse, call one function, print. No logic of its own, and no torch until a
command needs it.
"""

import _thread
import math
import os
import re
import signal
import sys
import time
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import FrameType

from edgevit.cli.console import guarded

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
UNTOUCHED = (signal.SIG_DFL, signal.default_int_handler)
PATIENCE_SECS = 3.0
LATER_SECS = 0.05
# What a module written in C calls back while it is imported must not raise: onnx's then aborts the
# process, or swallows the interrupt.
NATIVE_IMPORTS = (
    ExtensionFileLoader.create_module.__code__,
    ExtensionFileLoader.exec_module.__code__,
)
MEASURES = "bench"  # the runtimes as any program gets them, their waiting threads included
SIZE = "--input-size"
TIMES = re.compile(r"-?\d+([xX]-?\d+)+")
WHOLE = re.compile(r"-?\d+")
OPTION = re.compile(r"-\D")  # and no negative number


def main(arguments: list[str] | None = None) -> None:
    """The `edgevit` program; exits with the codes of docs/architecture.md."""
    # Must precede any import of onnxruntime, whose Linux wheels start a telemetry thread.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    _open_closed_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = joined_sizes([word for word in words if word != "--debug"])
    command = next((word for word in words if not word.startswith("-")), "")
    if command != MEASURES:
        # Must precede any import of torch. Its threads spin while they wait for each other: beside
        # one busy neighbour on two cores an export of topformer-t to onnx took 124 s instead of
        # 6.7, with this 21 s, and nothing is lost alone.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

    def run() -> int:
        from edgevit.cli.app import invoke

        return invoke(words)

    # A signal that is ignored is so on purpose, by nohup and its like.
    before = {n: signal.getsignal(n) for n in STOPS}
    ours = {n: kept for n, kept in before.items() if kept in UNTOUCHED}
    interrupt = _Interrupt()
    try:
        for number in ours:
            signal.signal(number, interrupt)
        sys.exit(guarded(run, debug, command))
    finally:
        for number, kept in ours.items():
            # As the program itself we are at its end, where an interrupt could only be noise.
            signal.signal(number, signal.SIG_IGN if arguments is None else kept)


def joined_sizes(words: list[str]) -> list[str]:
    """`--input-size H W` as one word, `H W`, and `T H W` too: an option that takes two words could
    not be given as `HxW`.
    """
    joined: list[str] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if name == SIZE and (equals or rest):
            size = value if equals else rest.pop(0)
            if not TIMES.fullmatch(size) and rest and not OPTION.match(rest[0]):
                size = f"{size} {rest.pop(0)}"
                if rest and WHOLE.fullmatch(rest[0]):
                    size = f"{size} {rest.pop(0)}"
            joined.append(f"{SIZE}={size}")
        else:
            joined.append(word)
    return joined


def _open_closed_streams() -> None:
    """Python has no sys.stdout where a shell closed it (`>&-`): what is written goes nowhere."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open to the end


class _Interrupt:
    """Ctrl-C and a polite end alike: what is half written is removed. A second one that comes
    at once is impatience, and must not stop that. One in the import of a native module comes again
    when the module may be there.
    """

    def __init__(self) -> None:
        self.last = -math.inf

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self.last <= PATIENCE_SECS:
            return
        if _imports_native(frame):
            _thread.start_new_thread(_interrupt_later, (_thread.get_ident(), number))
            return
        self.last = now
        raise KeyboardInterrupt


def _imports_native(frame: FrameType | None) -> bool:
    """Whether a native module's own code runs below this frame."""
    while frame is not None:
        if any(frame.f_code is code for code in NATIVE_IMPORTS):
            return True
        frame = frame.f_back
    return False


def _interrupt_later(thread: int, number: int) -> None:
    time.sleep(LATER_SECS)
    signal.pthread_kill(thread, number)  # a real signal: it ends a wait in the kernel too
