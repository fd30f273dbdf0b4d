"""The laptop's side of onnxlift: read onnxlift.toml, compress, decide the placement, serve locally,
call a service.

``config`` reads the one file a user edits; ``compress`` turns a model into an artifact that passed
the quality gate; ``placement`` says where the artifact can run; ``local`` serves it with the
handlers that AWS will run; ``cli`` is the command line over all of it. Nothing in here is shipped
to AWS.
"""

import onnxlift_runtime  # noqa: F401 - before anything loads onnxruntime: its reports are switched off there
