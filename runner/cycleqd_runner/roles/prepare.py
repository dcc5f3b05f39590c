"""Role prepare: check that one expert fits the base model, factorise it, and write its basis.

Whoever completes the last basis also writes down how close all experts are to each other, before anything is bred.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import torch

from cycleqd import keys
from cycleqd.affinity import Affinity, read_affinity
from cycleqd.errors import BadManifest
from cycleqd_runner.affinity import measure
from cycleqd_runner.basis import MANIFEST
from cycleqd_runner.compatibility import check, open_expert
from cycleqd_runner.factorise import factorise
from cycleqd_runner.local_copies import model_folder
from cycleqd_runner.session import Session

_LOG = logging.getLogger(__name__)


def prepare(session: Session, expert_name: str) -> None:
    """Write the basis of one expert; the manifest goes last, so that a basis is complete where it has one.

    Raises:
        BadModel: the expert does not fit the base model, or one of them is damaged.
    """
    if session.store.exists(keys.basis_manifest(expert_name)):
        return
    source = next((expert for expert in session.spec.experts if expert.name == expert_name), None)
    if source is None:
        raise BadManifest(f"The run has no expert {expert_name}: name one of its experts.")
    expert = open_expert(model_folder(source, session.identity.uid))
    check(expert_name, expert, session.base)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with tempfile.TemporaryDirectory(prefix="cycleqd-basis-") as temporary:
        folder = Path(temporary)
        rank = session.spec.search.basis.rank
        kept = factorise(expert_name, expert, session.base, folder, rank=rank, device=device).kept
        _LOG.info(f"Expert {expert_name} is factorised: {kept if kept.error else 'all of its directions are kept'}")
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        for path in sorted(files, key=lambda path: path.name == MANIFEST):
            if path.name == MANIFEST and _is_last(session, expert_name):
                affinity_of(session)
            session.store.upload(path, f"{keys.basis(expert_name)}/{path.relative_to(folder).as_posix()}")


def affinity_of(session: Session) -> Affinity:
    """Return how close the experts are, as it was written down, or measured now and written down."""
    found = read_affinity(session.store)
    if found is None:
        found = measure(session.base, session.models)
        session.store.put_once(keys.AFFINITY, found.model_dump_json(indent=1).encode())
        _LOG.info(found.verdict)
    return found


def _is_last(session: Session, expert_name: str) -> bool:
    """Return whether only this expert's basis is not complete; of two that end at the same moment neither is."""
    others = [expert.name for expert in session.spec.experts if expert.name != expert_name]
    return all(session.store.exists(keys.basis_manifest(name)) for name in others)
