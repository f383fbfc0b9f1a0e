"""Which directory names are versions, and which of them a policy chooses."""

from pathlib import Path

import pytest

from workers.tf.embedded.directories import scan_versions, version_of
from workers.tf.embedded.policies import All, Latest, Specific, VersionPolicy


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("1", 1),
        ("00000123", 123),
        ("-1", -1),
        ("+7", 7),
        (" 5 ", 5),
        ("9223372036854775807", 2**63 - 1),
        ("9223372036854775808", None),
        ("1_0", None),
        ("٣", None),
        ("1.0", None),
        ("v1", None),
        ("", None),
        (".staging-1", None),
        ("1 2", None),
    ],
)
def test_names(name: str, version: int | None) -> None:
    assert version_of(name) == version


def test_scan_keeps_raw_names_and_takes_plain_files(tmp_path: Path) -> None:
    (tmp_path / "007").mkdir()
    (tmp_path / "8").write_text("a file is a version too")
    (tmp_path / "live.json").write_text("{}")
    assert scan_versions(tmp_path) == {7: tmp_path / "007", 8: tmp_path / "8"}


def test_of_two_names_for_one_version_the_last_wins(tmp_path: Path) -> None:
    for name in ("1", "01", "001"):
        (tmp_path / name).mkdir()
    assert scan_versions(tmp_path) == {1: tmp_path / "1"}


def test_a_missing_base_path_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    assert scan_versions(tmp_path) == {}
    with pytest.raises(FileNotFoundError):
        scan_versions(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (Latest(), (10,)),
        (Latest(2), (9, 10)),
        (Latest(9), (1, 9, 10)),
        (All(), (1, 9, 10)),
        (Specific(frozenset({1, 10, 77})), (1, 10)),
        (Specific(frozenset()), ()),
    ],
)
def test_policies_order_versions_as_numbers(policy: VersionPolicy, chosen: tuple[int, ...]) -> None:
    assert policy.select([9, 10, 1]) == chosen
    assert policy.select([]) == ()
