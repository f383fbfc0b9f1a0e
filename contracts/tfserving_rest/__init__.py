"""TensorFlow Serving's REST dialect as bytes: what the gateway and the embedded engine both read and write.

Routes, JSON to arrays and back, and the original's words for what is wrong. Must not know any server, nor TensorFlow.
"""
