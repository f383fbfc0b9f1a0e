"""Findings go there and back among whatever else a worker prints."""

import pytest

from contracts.findings import Finding, decode_finding, encode_finding


@pytest.mark.parametrize(
    "finding",
    [
        Finding("size", "bytes on disk", 11.1, "MB"),
        Finding("stops", "a hook counts", 0.0),
        Finding("values can be read", 'in "quotes"\nand lines', "yes"),
        Finding("ONNX: size", "", why_not="ModuleNotFoundError: No module named 'onnx'"),
    ],
)
def test_a_finding_is_one_line_and_comes_back(finding: Finding) -> None:
    line = encode_finding(finding)
    assert "\n" not in line
    assert decode_finding(line) == finding


@pytest.mark.parametrize(
    "line",
    ["", "2026-11-21 oneDNN custom operations are on", "finding: ", "finding: {}", 'finding: {"what":"a","extra":1}'],
)
def test_other_lines_are_no_findings(line: str) -> None:
    assert decode_finding(line) is None
