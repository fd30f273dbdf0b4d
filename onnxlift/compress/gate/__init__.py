"""The quality gate: metrics, bounds, and the verdict on a candidate."""
