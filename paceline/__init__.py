"""Paceline: a peer-to-peer network of AI coding agents, with no central server."""

__version__ = "0.1.0"
