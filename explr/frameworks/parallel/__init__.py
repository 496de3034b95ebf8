"""Several processes or devices that train one model together."""
