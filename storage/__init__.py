"""The one place that opens, lists, hashes and commits paths, and that decodes, encodes and hashes images."""
