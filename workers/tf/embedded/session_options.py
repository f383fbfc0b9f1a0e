"""Flags to TensorFlow's session configuration, and to what a loader needs to know."""

from pathlib import Path
from typing import Any

import tensorflow as tf

from workers.tf.embedded.faults import invalid
from workers.tf.embedded.flag_table import Options
from workers.tf.embedded.savedmodel import LoadOptions
from workers.tf.embedded.schemas import read_text_message


def load_options(options: Options) -> LoadOptions:
    """How every version is loaded.

    Raises Fault(INVALID_ARGUMENT) when flags contradict each other or the configuration file does not parse, OSError
    when it cannot be read.
    """
    return LoadOptions(tuple(options.saved_model_tags.split(",")), _session_config(options))


def _session_config(options: Options) -> Any:
    both = options.tensorflow_session_parallelism
    intra, inter = options.tensorflow_intra_op_parallelism, options.tensorflow_inter_op_parallelism
    if min(both, intra, inter) > 0:
        raise invalid(
            "Either tensorflow_session_parallelism or both of tensorflow_intra_op_parallelism and "
            "tensorflow_inter_op_parallelism can be set, not all three."
        )
    config: Any = tf.compat.v1.ConfigProto()
    if options.tensorflow_session_config_file:
        read_text_message(Path(options.tensorflow_session_config_file), config)
    # Flags that are left alone leave the file's word alone.
    if both or intra:
        config.intra_op_parallelism_threads = intra or both
    if both or inter:
        config.inter_op_parallelism_threads = inter or both
    if options.per_process_gpu_memory_fraction > 0:
        config.gpu_options.per_process_gpu_memory_fraction = options.per_process_gpu_memory_fraction
    elif not options.tensorflow_session_config_file:
        # On a machine with a GPU the other engine needs memory too: take what is used, not all there is.
        config.gpu_options.allow_growth = True
    return config
