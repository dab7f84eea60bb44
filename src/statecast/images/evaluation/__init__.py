"""How well a model answers about pictures, beside the usual peers, with a picture of each answer."""
