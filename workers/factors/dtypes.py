"""The fixed list of dtypes that both sides are asked for, by the names of the Open Inference Protocol and beyond."""

from typing import Any

DTYPES = (
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BF16",
    "BYTES",
    "COMPLEX64",
    "FP8 (e4m3)",
)

MOVED, ADDED = "dtypes moved", "dtypes added"
"""What is done with each: joined to itself, and added to itself (BOOL: or, BYTES: joined)."""

BUILT_WITH, ASKED_WITH = (1, 0, 1), (0, 1, 1)
"""The values, which every dtype but BYTES has."""
BYTES_BUILT_WITH, BYTES_ASKED_WITH = (b"a", b"b"), (b"cd", b"e")


def expected_of(what: str, name: str) -> list[Any]:
    """The right answer to ASKED_WITH, or to BYTES_ASKED_WITH, of a dtype by its name."""
    given: tuple[Any, ...] = BYTES_ASKED_WITH if name == "BYTES" else ASKED_WITH
    if what == MOVED:
        return [*given, *given]
    return list(given) if name == "BOOL" else [one + one for one in given]


def check_carried(what: str, name: str, answer: list[Any], dtype: object, expected_dtype: object) -> None:
    """Raises ValueError when an answer has another dtype, another shape or other values than the right one."""
    if dtype != expected_dtype:
        raise ValueError(f"answered {dtype}")
    expected = expected_of(what, name)
    if answer != expected:
        raise ValueError(f"answered {answer}, expected {expected}")
