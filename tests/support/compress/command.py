"""The command line in a process of its own, with four recipes and no time for measuring."""

import sys
from typing import Final

_PROGRAM: Final = """
from onnxlift.cli import main
from onnxlift.compress.measure import measurement
from onnxlift.compress.recipes.presets import PRESETS
measurement.SECONDS = 0.01
few = {"int8-static", "int8-dynamic", "structured", "fp32"}
known = PRESETS["x86_64"]()
PRESETS["x86_64"] = lambda: tuple(recipe for recipe in known if recipe.name in few)
main(prog_name="onnxlift")
"""
ONNXLIFT: Final = (sys.executable, "-c", _PROGRAM)
