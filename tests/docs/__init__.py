"""Tests of what Markdown files say: links, commands, samples."""
