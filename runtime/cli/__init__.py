"""What people type: ``run_node`` starts a node, ``client`` talks to a running one."""
