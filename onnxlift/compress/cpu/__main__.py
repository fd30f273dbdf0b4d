"""``python -m onnxlift.compress.cpu`` makes the arm64 folder that qemu-aarch64 needs, and prints
where it is.
"""

import sys

from onnxlift.compress.cpu import sysroot

if __name__ == "__main__":
    sys.stdout.write(f"{sysroot.make()}\n")
