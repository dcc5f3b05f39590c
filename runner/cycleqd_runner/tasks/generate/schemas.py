"""The tables that SQL questions are about. Experts are trained on the seen ones only; test items have their own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schema:
    """A table: what it is called, its naming column, its category column with values, and two number columns."""

    table: str
    name: str
    category: str
    values: tuple[str, ...]
    numbers: tuple[tuple[str, int, int], tuple[str, int, int]]
    """(column, smallest value, largest value)."""


def _schema(table: str, name: str, category: str, values: str, *numbers: tuple[str, int, int]) -> Schema:
    return Schema(table, name, category, tuple(values.split()), (numbers[0], numbers[1]))


SEEN_SCHEMAS = (
    _schema("books", "title", "genre", "crime poetry travel drama", ("price", 5, 60), ("pages", 80, 900)),
    _schema("players", "name", "team", "Reds Blues Hawks Bears", ("goals", 0, 40), ("age", 17, 39)),
    _schema("cars", "model", "color", "red blue black white", ("price", 3000, 60000), ("year", 1990, 2023)),
    _schema("employees", "name", "department", "sales legal finance design", ("salary", 2000, 9000), ("age", 20, 65)),
    _schema("movies", "title", "director", "Lee Kubrick Varda Ozu", ("rating", 1, 10), ("year", 1950, 2023)),
    _schema("songs", "title", "artist", "Abba Queen Muse Blur", ("length", 90, 600), ("plays", 100, 9000)),
    _schema("orders", "customer", "status", "open paid shipped late", ("amount", 10, 900), ("items", 1, 20)),
    _schema("plants", "species", "family", "rose lily palm fern", ("height", 5, 300), ("age", 1, 90)),
    _schema("flights", "code", "airline", "Delta Iberia Finnair Qantas", ("seats", 50, 400), ("delay", 0, 120)),
    _schema("students", "name", "school", "North South East West", ("grade", 1, 12), ("credits", 10, 180)),
    _schema("laptops", "model", "brand", "Dell Asus Acer Apple", ("price", 300, 3000), ("memory", 4, 64)),
    _schema("recipes", "dish", "cuisine", "Thai Greek Indian French", ("minutes", 5, 180), ("calories", 100, 1500)),
)
UNSEEN_SCHEMAS = (
    _schema("ships", "name", "harbor", "Oslo Genoa Lagos Busan", ("length", 20, 400), ("crew", 5, 90)),
    _schema("dogs", "name", "breed", "beagle poodle husky boxer", ("weight", 3, 60), ("age", 1, 16)),
    _schema("phones", "model", "maker", "Nokia Sony Xiaomi Oppo", ("cost", 100, 1500), ("storage", 16, 512)),
    _schema("museums", "name", "city", "Paris Rome Berlin Madrid", ("visitors", 500, 9000), ("rooms", 4, 80)),
    _schema("wines", "label", "region", "Rioja Mosel Douro Napa", ("vintage", 1980, 2022), ("bottles", 10, 900)),
    _schema("bridges", "name", "river", "Rhine Volga Tiber Seine", ("span", 30, 2000), ("lanes", 1, 8)),
    _schema("tickets", "holder", "zone", "north center harbor airport", ("fare", 2, 90), ("rides", 1, 60)),
)
