"""How a Job says what it does: its work and the spec it was made from, as texts for its annotations."""

from __future__ import annotations

import hashlib
import json

from pydantic import ValidationError

from cycleqd.api.run import RunSpec
from cycleqd.errors import BadData, BadManifest
from cycleqd.identity import immutable_part
from cycleqd.ids import format_ids, parse_ids
from cycleqd.orders import Order
from cycleqd.plan import Work


def write_work(work: Work) -> str:
    """Return work as JSON, with ids as ranges: ``{"role":"breed","ids":"3-32,40"}``."""
    fields = {"role": work.role, "subject": work.subject, "ids": format_ids(work.ids)}
    return json.dumps({name: value for name, value in fields.items() if value}, separators=(",", ":"))


def read_work(text: str) -> Work:
    """Return the work that :func:`write_work` wrote.

    Raises:
        BadData: the text is something else.
    """
    try:
        fields = json.loads(text)
        order = Order.model_validate({**fields, "ids": parse_ids(fields.get("ids", ""))})
    except (BadManifest, ValidationError, ValueError, TypeError, AttributeError) as error:
        raise BadData(f"{text[:100]!r} describes no work: expected what the operator wrote.") from error
    return Work(order.role, order.subject, order.ids)


def spec_digest(spec: RunSpec) -> str:
    """Return 16 hexadecimal digits that differ between specs that give different results."""
    text = json.dumps(immutable_part(spec), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
