"""Published incidents, simulated again, each figure beside the band its source gives it."""
