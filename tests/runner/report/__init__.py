"""Tests of what people look at: tables, pictures, pages."""
