"""The toy world's CLIP: an open_clip folder (`local-dir:`), the script that trains it and the one that examines it."""
