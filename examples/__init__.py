"""Examples with real data that run without an account."""
