"""From objects and a symptom to causes, in order of likelihood, each with its check and its fix."""
