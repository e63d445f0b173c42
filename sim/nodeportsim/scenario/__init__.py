"""What a user declares, read from files: scenarios, Kubernetes objects, price profiles."""
