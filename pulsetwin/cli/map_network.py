"""Networks of QALAS maps on the command line: what is trained, used as it is, trained further, and kept."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from pulsetwin.cli.files import writable
from pulsetwin.errors import ProtocolError

NAMES = ("network", "fine_tune", "save_network")


def add_network_options(group: Any) -> None:
    """Describe the options of networks."""
    group.add_argument("--network", metavar="FILE", help="of method ssl: map by this network, that was trained before")
    group.add_argument("--fine-tune", action="store_true", default=None, help="train --network further on this scan")
    group.add_argument("--save-network", metavar="FILE", help="of method ssl: keep the network that was trained")


def check_network(options: argparse.Namespace, inputs: Iterable[str | Path]) -> None:
    """Raise, before any long work, where a network cannot be read or kept, or options do not go together."""
    given = [f"--{name.replace('_', '-')}" for name in NAMES if getattr(options, name) is not None]
    if given and options.map_method != "ssl":
        raise ProtocolError(f"{given[0]} is of method ssl, but the method is {options.map_method}: ask for ssl")
    if options.fine_tune and not options.network:
        raise ProtocolError("--fine-tune needs --network: give the network to train further")
    if options.save_network:
        if options.network and not options.fine_tune:
            raise ProtocolError("--save-network: --network is used as it is: pass --fine-tune to train it further")
        if Path(options.output).resolve() in Path(options.save_network).resolve().parents:
            raise ProtocolError("--save-network lies in the output folder, which appears whole: name another place")
        writable(options.save_network, inputs, force=options.force)
    if options.network:
        from pulsetwin.recon.qalas.network import load_network

        load_network(options.network)


@contextmanager
def network_for(options: argparse.Namespace, slices: int) -> Iterator[dict[str, Any]]:
    """Yield what `map_qalas` is to know of networks; one that it trains is kept in the end, if that is asked for."""
    with ExitStack() as stack:
        if options.map_method != "ssl":
            yield {}
            return
        from pulsetwin.atomic import atomic_file
        from pulsetwin.recon.qalas.network import load_network
        from pulsetwin.recon.qalas.training import Training

        network = load_network(options.network)[0] if options.network else None
        known = {} if network is None else {"network": network, "ie": network.ie}
        if network is None or options.fine_tune:
            known["training"] = Training() if network is None else Training.further(network.architecture, slices)
        if options.save_network:
            temporary = stack.enter_context(atomic_file(options.save_network, force=options.force))
            known["training"] = replace(known["training"], checkpoint=temporary)
        yield known


def facts(options: argparse.Namespace) -> dict[str, Any]:
    """Return what the outputs tell of networks; one that is read is told among the inputs."""
    if options.map_method != "ssl":
        return {}
    from pulsetwin.export.summary import file_facts

    kept = file_facts(options.save_network) if options.save_network else None
    return {"trained": not options.network or bool(options.fine_tune), "saved_network": kept}
