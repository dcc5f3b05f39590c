"""The algorithm and the contract: numpy and pydantic, without torch, kopf or kubernetes."""

__version__ = "0.1.0"
