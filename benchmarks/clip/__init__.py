"""CLIP end to end beside the bare forward pass of the same model on the same device, and beside its peers."""
