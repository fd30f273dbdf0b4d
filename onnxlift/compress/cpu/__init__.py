"""Processors: this machine's, and how to run a model as another would that serves it.

``description`` names this one. ``instructions.available`` says which road leads to another
instruction set, or why none does; ``process.run_on`` takes it in a fresh process. Roads: "native"
(this CPU is the one), "patched" (a copy of onnxruntime does not see what the other CPU lacks, at
full speed), "masked" (no code of the process sees it, at full speed: Linux arch_prctl(2),
ARCH_SET_CPUID), "emulated" (qemu-user; slow, for a few dozen samples).
"""
