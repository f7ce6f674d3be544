"""One async interface to every model, and the engine between a recipe and the models. See `annotators.interface`."""
