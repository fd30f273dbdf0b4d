"""The part of onnxlift that runs in AWS, written once for Lambda and the GPU worker.

An event becomes an ``http.Request``; ``oip`` or ``tfs`` reads it into wire inputs; ``tensors``
turns those into arrays; ``engine`` runs them through ``session`` and hands back an
``http.Response``. ``manifest`` is all it knows about how a model was built; ``errors`` is all a
caller is ever told went wrong. Everything below ``tensors`` loads neither numpy nor boto3, so that
the control functions start without them.
"""

import os

# onnxruntime reports to its maker since 1.29, from the moment it is loaded, unless this is set
# before. Nobody who runs a model here agreed to that; who does sets it to 0. (onnxruntime's
# Privacy.md, "Disabling Telemetry")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
