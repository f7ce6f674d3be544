"""Exports: a finished output, written as the files that a trainer reads. One module per format."""
