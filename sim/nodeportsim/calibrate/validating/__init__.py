"""`validate`: predictions against what was measured and published, and never fitted."""
