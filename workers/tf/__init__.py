"""The TensorFlow side: everything that may import tensorflow lives here and runs in processes of its own."""
