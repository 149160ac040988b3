"""The organisms of an instance as files: checked, shown, compared, loaded and loaded again while the process runs."""
