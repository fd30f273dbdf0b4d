"""Call a service from Python: local or deployed, over the Open Inference Protocol or TensorFlow Serving's REST API.

::

    text or files ─ values ─▶ arrays ─ Client.infer ─▶ Answer: arrays by output name, and classes with their labels
                                     └ Client.predict ─▶ nested lists
"""

from onnxlift.client.answer import Answer, ScoredClass
from onnxlift.client.connection import Client, ModelMetadata
from onnxlift.client.values import read_input

__all__ = ["Answer", "Client", "ModelMetadata", "ScoredClass", "read_input"]
