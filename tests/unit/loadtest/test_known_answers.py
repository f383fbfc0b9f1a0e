"""Answers are held against the version they name."""

from pathlib import Path

import numpy as np
import pytest

from contracts.golden import Golden
from contracts.oip_bodies import HEADER_LENGTH, Array, BadAnswer, decode_answer, encode_request
from loadtest.known_answers import KnownAnswers, NotTelling
from tests.unit.loadtest.fake_gateway import IMAGES, LOGITS, ROWS, golden, known_answers, publish


def encode_answer(outputs: dict[str, Array]) -> tuple[bytes, str]:
    body, headers = encode_request(outputs)
    return body.replace(b'"inputs"', b'"outputs"', 1), str(int(headers[HEADER_LENGTH]) + 1)


def fault_of(logits: Array, version: str | None = "1", name: str = "logits", case: int = 3) -> str:
    content, header_length = encode_answer({name: logits})
    return known_answers().find_fault(case, version, content, header_length)


def row(version: int, case: int = 3) -> Array:
    return LOGITS[version][case : case + 1].copy()


@pytest.mark.parametrize("version", [1, 2])
def test_right_answers_have_no_fault(version: int) -> None:
    for case in range(ROWS):
        assert fault_of(row(version, case), str(version), case=case) == ""
        assert fault_of(row(version, case) + np.float32(5e-4), str(version), case=case) == ""


def test_an_answer_of_the_other_version_is_told_apart() -> None:
    assert fault_of(row(2)) == "says version 1, but version 2 computed it"
    assert fault_of(row(1), "2") == "says version 2, but version 1 computed it"


def test_another_requests_answer_is_told_apart() -> None:
    assert "away from it" in fault_of(row(1, case=4), case=3)


@pytest.mark.parametrize("wrong", [0.002, -1.0, np.nan, np.inf])
def test_one_wrong_logit_is_noticed(wrong: float) -> None:
    logits = row(1)
    logits[0, 9] += np.float32(wrong)
    assert "away from it" in fault_of(logits)


@pytest.mark.parametrize("version", [None, "", "3", "01", "one"])
def test_a_version_that_nobody_knows_is_a_fault(version: str | None) -> None:
    assert "is none of 1, 2" in fault_of(row(1), version)


@pytest.mark.parametrize("logits", [row(1)[0], np.repeat(row(1), 2, axis=0), row(1)[:, :9], row(1).astype(np.float64)])
def test_another_shape_or_datatype_is_a_fault(logits: Array) -> None:
    assert "inf away" in fault_of(logits)


def test_another_name_is_a_fault() -> None:
    assert "inf away" in fault_of(row(1), name="scores")


@pytest.mark.parametrize(
    ("content", "header_length"),
    [
        (b"", None),
        (b"", "0"),
        (b"{}", "2"),
        (b"[]", "2"),
        (b'{"outputs": 1}', "14"),
        (b'{"outputs": [{}]}', "17"),
        (b"\xff\xfe", "2"),
        (b"{}", "²"),
        (encode_answer({"logits": row(1)})[0][:-1], encode_answer({"logits": row(1)})[1]),
        (encode_answer({"logits": row(1)})[0] + b"x", encode_answer({"logits": row(1)})[1]),
    ],
)
def test_what_is_no_answer_is_a_fault_and_no_crash(content: bytes, header_length: str | None) -> None:
    assert known_answers().find_fault(0, "1", content, header_length)
    with pytest.raises(BadAnswer):
        decode_answer(content, header_length)


def test_versions_that_answer_alike_are_refused() -> None:
    near = LOGITS[1] + np.float32(0.005)
    with pytest.raises(NotTelling, match="versions 1 and 2 answer case 0 only"):
        KnownAnswers({"images": IMAGES}, {1: {"logits": LOGITS[1]}, 2: {"logits": near}})
    one_alike = LOGITS[2].copy()
    one_alike[5] = LOGITS[1][5]
    with pytest.raises(NotTelling, match="case 5"):
        KnownAnswers({"images": IMAGES}, {1: {"logits": LOGITS[1]}, 2: {"logits": one_alike}})


def test_golden_files_become_cases(tmp_path: Path) -> None:
    publish(tmp_path, 1, golden(1))
    publish(tmp_path, 2, golden(2))
    known = KnownAnswers.read(tmp_path, "mnist", [1, 2])
    assert len(known.cases) == ROWS
    sent = decode_answer(*as_answer(known.cases[6].body, known.cases[6].headers[HEADER_LENGTH]))
    np.testing.assert_array_equal(sent["images"], IMAGES[6:7])
    content, header_length = encode_answer({"logits": row(2, 6)})
    assert known.find_fault(6, "2", content, header_length) == ""


def test_several_inputs_and_outputs_of_several_kinds(tmp_path: Path) -> None:
    """One name for an input and an output; an integer output may not be off by one."""
    inputs: dict[str, Array] = {"x": np.arange(6, dtype=np.int64).reshape(3, 2), "scale": np.ones((3, 1), np.float32)}
    for version in (1, 2):
        outputs: dict[str, Array] = {
            "x": np.full((3,), version, np.int64),
            "is_big": np.array([[True], [False], [True]]),
        }
        publish(tmp_path, version, Golden(inputs, outputs))
    known = KnownAnswers.read(tmp_path, "mnist", [1, 2])
    right = encode_answer({"x": np.array([1], np.int64), "is_big": np.array([[False]])})
    flipped = encode_answer({"x": np.array([1], np.int64), "is_big": np.array([[True]])})
    assert known.find_fault(1, "1", *right) == ""
    assert "away from it" in known.find_fault(1, "1", *flipped)
    assert known.find_fault(1, "2", *right) == "says version 2, but version 1 computed it"


def test_different_golden_inputs_are_refused(tmp_path: Path) -> None:
    publish(tmp_path, 1, golden(1))
    publish(tmp_path, 2, Golden({"images": IMAGES + 1}, golden(2).outputs))
    with pytest.raises(NotTelling, match="different golden inputs"):
        KnownAnswers.read(tmp_path, "mnist", [1, 2])


def as_answer(body: bytes, header_length: str) -> tuple[bytes, str]:
    return body.replace(b'"inputs"', b'"outputs"', 1), str(int(header_length) + 1)
