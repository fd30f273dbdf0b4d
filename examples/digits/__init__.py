"""Handwritten digits: the smallest complete way from a trained model to an answer."""
