"""The command line of the embedded server."""

from dataclasses import fields

import pytest

from workers.tf.embedded.flag_table import FLAGS, Options
from workers.tf.embedded.flags import BadFlag, parse_flags, usage


def test_the_table_and_the_options_have_the_same_names() -> None:
    assert [f.name for f in FLAGS if not f.is_ignored] == [f.name for f in fields(Options)]


def test_defaults_are_the_originals_and_strict() -> None:
    options = parse_flags([]).options
    assert (options.port, options.rest_api_port, options.rest_api_timeout_in_ms) == (8500, 0, 30000)
    assert (options.max_num_load_retries, options.load_retry_interval_s) == (5, 60.0)
    assert options.bind_address == "127.0.0.1"
    assert options.is_strict


def test_values_are_read_and_the_last_of_two_counts() -> None:
    options = parse_flags(["--port=1", "--port=9000", "--model_config_file=/a=b", "--shape_check=off"]).options
    assert (options.port, options.model_config_file, options.is_strict) == (9000, "/a=b", False)


@pytest.mark.parametrize("argument", ["--nope=1", "--port", "8500", "-port=1", "port=1", "-enable_batching", ""])
def test_what_is_no_flag_is_reported_and_ignored(argument: str) -> None:
    parsed = parse_flags([argument, "--rest_api_port=7"])
    assert parsed.unknown == (argument,)
    assert (parsed.options.port, parsed.options.rest_api_port) == (8500, 7)


@pytest.mark.parametrize(
    "argument",
    [
        "--port=",
        "--port=x",
        "--port=1_0",
        "--port=2147483648",
        "--port=1.0",
        "--shape_check=maybe",
        "--enable_batching=1",
        "--enable_batching=",
        "--per_process_gpu_memory_fraction=half",
        "--num_load_threads=x",
    ],
)
def test_a_bad_value_is_fatal_and_named(argument: str) -> None:
    with pytest.raises(BadFlag, match=argument.replace(".", r"\.")):
        parse_flags([argument])


def test_int64_flags_take_what_int32_flags_do_not() -> None:
    assert parse_flags(["--load_retry_interval_micros=5000000000"]).options.load_retry_interval_s == 5000.0


def test_a_bool_may_stand_alone() -> None:
    assert not parse_flags([]).options.enable_batching
    assert parse_flags(["--enable_batching"]).options.enable_batching
    assert parse_flags(["--enable_batching=true"]).options.enable_batching
    assert not parse_flags(["--enable_batching", "--enable_batching=false"]).options.enable_batching


def test_what_is_ignored_is_understood_and_told_where_it_asks_for_something() -> None:
    parsed = parse_flags(["--num_load_threads=4", "--enable_profiler", "--mixed_precision=bfloat16", "--port=9000"])
    assert parsed.unknown == ()
    assert parsed.without_effect == ("--num_load_threads=4", "--mixed_precision=bfloat16")
    assert parse_flags(["--enable_profiler=false"]).without_effect == ("--enable_profiler=false",)


def test_usage_names_every_flag_with_its_default() -> None:
    text = usage("server")
    assert text.startswith("usage: server\nFlags:\n")
    assert all(f"--{flag.name}=" in text and flag.meaning in text for flag in FLAGS)
