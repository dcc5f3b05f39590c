"""The image recipes and the script that builds them, without a container engine."""
