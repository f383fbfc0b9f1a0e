"""The id that a request goes by in answers and logs: the client's own when it is a printable word, or ours."""

import os
import re

_WORD = re.compile(r"[\x21-\x7e]{1,128}")


def request_id_from(given: str) -> str:
    """The client's id when it can be sent back as it is; a new one when it cannot, or there is none."""
    return given if _WORD.fullmatch(given) else new_request_id()


def new_request_id() -> str:
    """One that nobody else has."""
    return os.urandom(16).hex()
