"""WebDataset shards: written with one commit each, read, indexed, merged and verified."""
