"""HTTP without a framework: requests, answers, content encodings, and the edge of a function."""
