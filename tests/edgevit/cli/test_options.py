import pytest
import typer.main

from edgevit.cli.app import app
from edgevit.cli.options import numbers, options, sizes, words
from edgevit.errors import UsageError


def test_words_are_split_and_stripped() -> None:
    assert words(None, "-r") == ()
    assert words(["onnx, litert,"], "-r") == ("onnx", "litert")
    assert words(["onnx", "litert,coreml"], "-r") == ("onnx", "litert", "coreml")


def test_an_option_with_several_values_may_be_repeated() -> None:
    """`--format onnx --format litert` was the second alone."""
    program = typer.main.get_command(app)
    lists = {}
    for name, command in program.commands.items():  # type: ignore[attr-defined]
        for option in command.params:
            if option.metavar in ("NAMES", "NUMBERS") or "--format" in option.opts:
                lists[name, option.opts[-1]] = option.multiple
    assert lists["export", "--format"]
    assert lists["bench", "--threads"]
    assert [where for where, multiple in lists.items() if not multiple] == []


@pytest.mark.parametrize("text", ["", " ", ",", ", ,"])
def test_an_empty_list_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="-r takes names"):
        words(["onnx", text], "-r")


def test_numbers() -> None:
    assert numbers(["1, 4"], "--threads") == (1, 4)
    assert numbers(["-1", "2"], "--threads") == (-1, 2)


@pytest.mark.parametrize("text", ["a", "1.5", "1,x", "²", "--1", "1" * 5000])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--threads takes whole numbers"):
        numbers([text], "--threads")


def test_sizes() -> None:
    assert sizes(None) == (None,)
    assert sizes(["64 96", "64x96", "-1X2"]) == ((64, 96), (64, 96), (-1, 2))
    assert sizes(["8 64 96", "8x64x96"]) == ((8, 64, 96), (8, 64, 96))


@pytest.mark.parametrize("text", ["64", "64x", "x64", "8x64x64x64", "a b", "6.4 64", "", "²x²"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="a height and a width") as refused:
        sizes([text])
    assert refused.value.next == "--input-size 448 448"


def test_options() -> None:
    assert options(None) == ()
    given = ["injection=fuse_sum", "token_stride=32", "x=-1", "y=a=b", "z=²", "w=--1"]
    assert dict(options(given)) == {
        "injection": "fuse_sum",
        "token_stride": 32,
        "x": -1,
        "y": "a=b",
        "z": "²",
        "w": "--1",
    }


@pytest.mark.parametrize("text", ["a", "a=", "=1", "=", ""])
def test_what_is_no_pair_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="KEY=VALUE"):
        options([text])


def test_an_option_given_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="--option a is given twice"):
        options(["a=1", "a=1"])
