"""`calibrate`: prices fitted to measured times, with errors, and written as a profile."""
