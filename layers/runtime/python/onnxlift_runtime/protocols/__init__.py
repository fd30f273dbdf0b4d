"""The Open Inference Protocol and TensorFlow Serving's REST API, from bytes to calls and back."""
