"""Call a service from Python: local or deployed, over the Open Inference Protocol or TensorFlow
Serving's REST API.

::

    text or files ─ values ─▶ arrays ─ Client.infer ─▶ Answer: arrays by output name, and classes
    with their labels
                                     ├ Client.predict ─▶ nested lists
                                     └ Jobs.submit ─▶ JobRecord, followed and fetched later
"""

from onnxlift.client.answer import Answer, ScoredClass, decode_answer
from onnxlift.client.connection import Client, ModelMetadata
from onnxlift.client.jobs import JobRecord, Jobs
from onnxlift.client.requests import Terms
from onnxlift.client.values import read_input

__all__ = [
    "Answer",
    "Client",
    "JobRecord",
    "Jobs",
    "ModelMetadata",
    "ScoredClass",
    "Terms",
    "decode_answer",
    "read_input",
]
