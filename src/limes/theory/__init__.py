"""Theories of the limit: pure functions, float64, problem -> result."""
