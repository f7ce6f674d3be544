"""The vocabulary: every record that travels between rooms. No I/O."""
