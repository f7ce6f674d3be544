"""Time and memory per sample of whole runs of 1,000 to 1,000,000 samples, through the command itself."""
