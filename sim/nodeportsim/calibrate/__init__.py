"""Measure a real node, fit prices to measurements, and check predictions against measurements."""
