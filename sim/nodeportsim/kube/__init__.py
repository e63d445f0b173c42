"""Kubernetes objects as the API server knows them: Services and their node ports, nodes, pods, endpoints."""
