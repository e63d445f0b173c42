"""kube-proxy: which endpoints a node may use, what it writes, what a packet tests, and when."""
