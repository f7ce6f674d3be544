"""Reference pools: index them, say what a task needs, and select what each sample uses."""
