"""Predictions for published rows, by theme."""
