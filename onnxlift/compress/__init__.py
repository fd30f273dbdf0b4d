"""From a model file to an artifact that passed the quality gate."""
