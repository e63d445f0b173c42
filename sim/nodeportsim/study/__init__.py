"""Many replications, many cells: runs, experiments, and the files they leave."""
