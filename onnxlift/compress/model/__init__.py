"""The model file and the data that judges it: read, described, written."""
