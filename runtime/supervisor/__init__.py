"""The supervisor: the table of who may say what to whom, the policy in force, and restarts."""
