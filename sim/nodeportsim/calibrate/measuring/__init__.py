"""`measure`: kube-proxy's rules in this machine's kernel, timed in network namespaces of its own."""
