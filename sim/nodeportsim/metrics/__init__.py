"""What a run says: pure functions from counters and histograms to estimates with intervals."""
