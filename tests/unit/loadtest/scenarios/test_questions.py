"""Rows come from data and from the repository, and what cannot be asked is told."""

from pathlib import Path

import numpy as np
import pytest

from contracts.golden import Golden, write_golden
from loadtest.scenarios.questions import MOST_LABELLED, NoQuestions, Sources, read_questions
from tests.unit.loadtest.fake_gateway import IMAGES, LOGITS, MODEL, ROWS, golden, publish

SHAPES = {"images": (-1, 28, 28)}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for version in LOGITS:
        publish(tmp_path / "repository", version, golden(version))
    return tmp_path / "repository"


def data_file(folder: Path, rows: int, side: int = 28, has_labels: bool = True) -> Path:
    file = folder / "data.npz"
    images = np.zeros((rows, side, side), np.float32)
    labels = np.arange(rows, dtype=np.int64) % 10 if has_labels else None
    write_golden(file, Golden({"images": images}, labels=labels))
    return file


def test_golden_rows_are_known_for_every_version(repository: Path) -> None:
    questions = read_questions(Sources(None, False, repository, MODEL), SHAPES)
    assert len(questions.rows) == ROWS
    first = questions.at(ROWS)
    assert np.array_equal(first.inputs["images"], IMAGES[:1])
    assert {v: o["logits"].tolist() for v, o in first.outputs.items()} == {v: LOGITS[v][:1].tolist() for v in LOGITS}


def test_a_version_with_other_golden_rows_is_not_held_against_them(repository: Path) -> None:
    publish(repository, 3, Golden({"images": IMAGES + 1}, {"logits": LOGITS[2]}))
    questions = read_questions(Sources(None, False, repository, MODEL), SHAPES)
    assert set(questions.at(0).outputs) == {3}


def test_labelled_rows_are_asked_beside_them_and_are_not_too_many(repository: Path, tmp_path: Path) -> None:
    sources = Sources(data_file(tmp_path, 3 * MOST_LABELLED), True, repository, MODEL)
    questions = read_questions(sources, SHAPES)
    assert sum(row.label is not None for row in questions.rows) == MOST_LABELLED
    assert len(questions.rows) == MOST_LABELLED + ROWS


def test_a_short_run_compares_outputs_too(repository: Path, tmp_path: Path) -> None:
    """Golden rows come evenly among the labelled, each once, beginning with the first request."""
    questions = read_questions(Sources(data_file(tmp_path, MOST_LABELLED), True, repository, MODEL), SHAPES)
    known = [at for at in range(len(questions.rows)) if questions.at(at).outputs]
    assert (len(known), known[0]) == (ROWS, 0)
    gaps = [after - before for before, after in zip(known, [*known[1:], len(questions.rows)], strict=True)]
    assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(
    ("side", "has_labels", "said"), [(14, True, r"rows of 'images' are \[14, 14\]"), (28, False, "needs `labels`")]
)
def test_data_that_does_not_fit_is_refused(tmp_path: Path, side: int, has_labels: bool, said: str) -> None:
    file = data_file(tmp_path, 5, side, has_labels)
    with pytest.raises(NoQuestions, match=said):
        read_questions(Sources(file, True, tmp_path, MODEL), SHAPES)


def test_data_that_merely_lies_around_is_left_alone_when_it_does_not_fit(repository: Path, tmp_path: Path) -> None:
    sources = Sources(data_file(tmp_path, 5, 14), False, repository, MODEL)
    assert len(read_questions(sources, SHAPES).rows) == ROWS


def test_nothing_to_ask_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoQuestions, match="give --data"):
        read_questions(Sources(None, False, tmp_path, MODEL), SHAPES)
