"""What holds for every test: a slow machine is no failure."""

import hypothesis

hypothesis.settings.register_profile("onnxlift", deadline=None)
hypothesis.settings.load_profile("onnxlift")
