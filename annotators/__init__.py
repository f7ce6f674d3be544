"""One async interface to every model, and the engine between recipe and model."""
