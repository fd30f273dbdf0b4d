"""From a model file to an artifact that passed the quality gate.

``source`` reads a model that may be hostile; ``signature`` says what it takes; ``samples`` reads
calibration and held-out data. Each of the ``recipes`` applies its ``steps`` to the model, each in a
process of its own (``trials``); ``search`` has the results judged by ``gate``, which compares their
answers with the fp32 model's on every instruction set of ``targets``; ``choice`` keeps the best
that passes. ``measure`` runs it in a fresh process, and ``artifact`` writes it with its manifest,
completely or not at all. ``pipeline`` is this order.
"""
