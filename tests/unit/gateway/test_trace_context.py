"""W3C Trace Context: what is taken from a client, and what an engine is told."""

import pytest

from gateway.accounts.trace_context import Parent, Sampler, decode_parent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("text", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-02", False),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", True),
    ],
)
def test_a_parent(text: str, is_sampled: bool) -> None:
    assert decode_parent(text) == Parent(int(TRACE, 16), int(SPAN, 16), is_sampled)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\r\nx: y",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_is_no_parent(text: str) -> None:
    assert decode_parent(text) is None


@pytest.mark.parametrize("flags", ["00", "01"])
def test_a_parent_decides_for_its_trace(flags: str) -> None:
    trace = Sampler(share=1.0 if flags == "00" else 0.0).place(f"00-{TRACE}-{SPAN}-{flags}", "vendor=1")
    assert (trace.trace_id, trace.parent_id, trace.is_sampled) == (int(TRACE, 16), int(SPAN, 16), flags == "01")
    assert trace.metadata == (
        ("traceparent", f"00-{TRACE}-{trace.upstream_id:016x}-{flags}"),
        ("tracestate", "vendor=1"),
    )


def test_a_new_trace_is_told_by_its_share() -> None:
    assert all(Sampler(1.0).place("", "").is_sampled for _ in range(100))
    assert not any(Sampler(0.0).place("", "").is_sampled for _ in range(100))
    half = Sampler(0.5)
    told = sum(half.place("", "").is_sampled for _ in range(2000))
    assert 800 < told < 1200, "nine standard deviations"
    trace = half.place("no parent", "vendor=1")
    assert (trace.parent_id, trace.state) == (0, ""), "a state without its parent means nothing"
    assert len({trace.trace_id, trace.span_id, trace.upstream_id}) == 3


@pytest.mark.parametrize("state", ["a=1", "a=1, b=two words", "tenant@vendor=x;y:z"])
def test_a_states_members_are_passed_on(state: str) -> None:
    assert dict(Sampler(1.0).place(f"00-{TRACE}-{SPAN}-01", state).metadata)["tracestate"] == state


@pytest.mark.parametrize("state", ["a=1\r\nx: y", "ä=1", "x" * 513, "x" * 500, "a=1,a=2", "A=1", "a=1=2", ","])
def test_a_state_that_is_no_header_goes_no_further(state: str) -> None:
    trace = Sampler(1.0).place(f"00-{TRACE}-{SPAN}-01", state)
    assert [name for name, _ in trace.metadata] == ["traceparent"]
