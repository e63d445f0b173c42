"""Closed forms: the second, independent answer to what the engine simulates.

Nothing here is imported by the engine, nor the other way round. Assumptions and tests of each
formula: docs/models/theory.md.
"""
