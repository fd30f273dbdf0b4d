"""What calibration samples say about the values inside a model."""
