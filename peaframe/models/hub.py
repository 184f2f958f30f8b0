"""Checkpoints on the Hugging Face hub: found in its cache, or fetched because the user named them.

No token is sent, nothing is uploaded. The hub's cache names each large file by its SHA-256, so a file can be checked
without the network.
"""

from __future__ import annotations

import hashlib
import re
import textwrap
from pathlib import Path

from tqdm import tqdm

from peaframe.errors import CheckpointError, ModelError
from peaframe.models import video_processor
from peaframe.models.checkpoint_files import is_whole

FILES = (
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-*.safetensors",
    "tokenizer.json",
    "events.json",
    *video_processor.FILES,
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def cached(hub_id: str, revision: str) -> Path | None:
    """The folder of a repository in the hub's cache, or None if it is not there whole; never touches the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        folder = snapshot_download(
            hub_id, revision=revision, allow_patterns=list(FILES), local_files_only=True, token=False
        )
    except HFValidationError as error:
        raise ModelError(f"got {hub_id!r}, expected a hub id such as facebook/pe-a-frame-base") from error
    except (OSError, ValueError):
        return None
    found = Path(folder)
    return found if is_whole(found) else None


def fetch(hub_id: str, revision: str) -> Path:
    """Download a repository's checkpoint into the hub's cache, with a bar, and check it.

    Returns:
        Its folder in the cache.

    Raises:
        ModelError: it cannot be reached, or there is no such repository or revision.
        CheckpointError: a file is not what the hub says it is.
    """
    from huggingface_hub import constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        if (whole := cached(hub_id, revision)) is None:
            raise ModelError(
                f"cannot fetch {hub_id} (revision {revision}) from the hub: HF_HUB_OFFLINE=1 forbids it; "
                "unset it, or give a folder that holds the checkpoint"
            )
        check(whole)
        return whole
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=list(FILES), token=False))
    except Exception as error:  # the library and the two HTTP clients below it each have their own
        reason = textwrap.shorten(str(error), 160, placeholder=" ...") or type(error).__name__
        raise ModelError(
            f"cannot fetch {hub_id} (revision {revision}) from the hub: {reason}; "
            "check the network, or give a folder that holds the checkpoint"
        ) from error
    if not is_whole(folder):  # without a network the library gives what an interrupted download left
        raise ModelError(
            f"cannot fetch {hub_id} (revision {revision}) from the hub: config.json or safetensors weights are missing "
            "in what came; check the network, and that the repository holds them"
        )
    check(folder)
    return folder


def check(folder: Path) -> None:
    """Compare the large files of a folder in the hub's cache with the SHA-256 they are named by."""
    blobs = [(path, path.resolve().name) for path in sorted(folder.iterdir())]
    large = [(path, name) for path, name in blobs if _SHA256.fullmatch(name)]
    total = sum(path.stat().st_size for path, _ in large)
    with tqdm(total=total, desc="check", unit="B", unit_scale=True, disable=None) as bar:
        for path, expected in large:
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
                    bar.update(len(block))
            if digest.hexdigest() != expected:
                raise CheckpointError(
                    f"{path}: damaged (SHA-256 {digest.hexdigest()[:12]}, expected {expected[:12]}); "
                    f"delete {path.resolve()} and download it again"
                )
