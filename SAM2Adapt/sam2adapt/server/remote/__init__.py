"""The engine server for a client on another computer: ``sam2adapt serve --stream``."""
