"""Follows --model_config_file: reads and applies it again and again. What does not parse or apply changes nothing."""

import logging
import threading
from typing import Generic

from workers.tf.embedded.faults import Fault
from workers.tf.embedded.model_config import parse_config_file
from workers.tf.embedded.reload import Configuration
from workers.tf.embedded.versions import S

_LOG = logging.getLogger(__name__)


class ConfigPolling(Generic[S]):
    """Every `wait_s` seconds; 0 and less mean never."""

    def __init__(self, configuration: Configuration[S], path: str, wait_s: float) -> None:
        self._configuration = configuration
        self._path = path
        self._wait_s = wait_s
        self._stopping = threading.Event()
        self._complaint = ""

    def run(self) -> None:
        """Follow the file until `stop`."""
        if not self._path or self._wait_s <= 0:
            self._stopping.wait()
            return
        while not self._stopping.wait(self._wait_s):
            self._apply()

    def stop(self) -> None:
        """Let `run` return, out of a reload too."""
        self._stopping.set()

    def _apply(self) -> None:
        complaint = ""
        try:
            self._configuration.apply(parse_config_file(self._path), is_abandoned=self._stopping.is_set)
        except (Fault, OSError) as error:
            complaint = str(error)
        # The same file would fill the log with the same line.
        if complaint and complaint != self._complaint:
            _LOG.error("%s is not applied: %s", self._path, complaint)
        self._complaint = complaint
