"""What the workflow needs around the library: checked config, downloads, jobs."""
