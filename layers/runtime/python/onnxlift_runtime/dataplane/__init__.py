"""Inference: sessions, batching, routing, and the endpoints of a model."""
