"""The `plumbline` command: thin glue between the words typed and the rooms."""
