"""Tests that import tensorflow and keras run in a process of their own (test_keras_process.py).

Others may import torch, and test processes that need neither do without the seconds that importing takes.
"""

import os

IN_KERAS_PROCESS = "TWINSERVE_TEST_KERAS_PROCESS"

collect_ignore = [] if os.environ.get(IN_KERAS_PROCESS) else ["test_given_model.py", "test_model.py", "test_train.py"]
