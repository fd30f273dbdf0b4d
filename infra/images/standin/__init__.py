"""Images that stand for the bases where no registry can be reached, for tests alone; ``make
stand-ins`` makes them.

``system`` makes a small Debian with Python 3.13 from this machine's own package sources;
``emulator`` adds to it what AWS's base for Python has: the runtime client and the Lambda Runtime
Interface Emulator, from the package index. Both get the real base's name and a label that says what
they are. The stand-in for CUDA's base has no CUDA.
"""
