"""From a model file to an artifact that passed the quality gate.

``source`` reads a model that may be hostile; ``signature`` says what it takes; ``samples`` reads calibration and
held-out data. Each of the ``recipes`` applies its ``steps`` to the model; ``quality`` judges the result against the
fp32 model by running it as the functions in AWS do; ``choice`` keeps the smallest that passes. ``measure`` runs it in
a fresh process, and ``artifact`` writes it with its manifest, completely or not at all. ``pipeline`` is this order.
"""
