"""How long a test waits for a process before it is taken for hung."""

DEADLINE_S = 300
"""What has not happened by then never will: ten times what the slowest takes on a busy machine."""
