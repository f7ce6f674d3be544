"""A server that answers batches of images with rewards: FIRM's critics or Re-Align's CLIP surrogate, over HTTP."""
