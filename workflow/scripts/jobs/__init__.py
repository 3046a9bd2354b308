"""What the workflow's jobs need around their work."""
