"""What a model costs a month, before it is deployed; all of it is arithmetic on one dated file of
prices.

::

    prices.<region>.<month>.json ─▶ prices ─┐ manifests ─▶ placement ─▶ margins ──────┼─▶ estimate:
    Lambda, GPU, break-even, network, idle month ─▶ plan onnxlift.toml ([gpu]) ──────────────────┘
"""
