"""The server of `agriseg label`: what the page asks, who may ask, and the socket. Imports `labelling`."""
