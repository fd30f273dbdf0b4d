"""``python -m onnxlift`` is the ``onnxlift`` command."""

from onnxlift.cli import main

main(prog_name="onnxlift")
