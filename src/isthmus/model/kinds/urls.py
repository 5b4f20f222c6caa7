"""URLs that users write: which ones we use, and that none holds a credential."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from isthmus.model.kinds.wrong import Wrong

__all__ = ["url_parts"]


def url_parts(value: str, *, schemes: tuple[str, ...], example: str = "") -> SplitResult:
    """Return the parts of ``value``; raise ``Wrong`` unless it is a plain URL with one of ``schemes``."""
    remedy = f"write it like {example or f'{schemes[0]}://192.0.2.1:6443'}"
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        raise Wrong("is not a URL", remedy) from error
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        raise Wrong("is not a URL of a kind we use", remedy)
    if parts.username is not None or parts.password is not None:
        raise Wrong("holds a user name or password", "credentials belong in files; remove them from the URL")
    if parts.query or parts.fragment:
        raise Wrong("has a query or a fragment", "remove what follows the path")
    return parts
