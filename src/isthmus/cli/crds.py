"""``isthmus crds``: the CustomResourceDefinitions, for ``kubectl apply -f -``."""

from __future__ import annotations

import click

from isthmus.cli.options import json_option
from isthmus.cli.render import emit_json


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Print the CustomResourceDefinitions of our kinds (YAML, or a JSON list)."""
    import yaml

    from isthmus.model.schema import crds

    found = crds()
    if as_json:
        emit_json({"apiVersion": "v1", "kind": "List", "items": found})
    else:
        click.echo(yaml.safe_dump_all(found, sort_keys=False), nl=False)
