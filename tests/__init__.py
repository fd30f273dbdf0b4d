"""All tests; a test that loads onnxruntime by itself does so after its reports were switched off
here.
"""

import onnxlift_runtime  # noqa: F401
