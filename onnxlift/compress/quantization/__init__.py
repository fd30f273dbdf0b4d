"""Real numbers into few bits: blocks, rounding with compensation, smoothing."""
