"""Everything that can be examined without a node: this machine, its disk and its data."""

from pathlib import Path

from paceline.node.doctor import databases, directory, disk, interfaces, machine, multicast, ports
from paceline.node.doctor.finding import Finding


def examine(data_dir: Path, *, mdns: bool = True) -> list[Finding]:
    """Examine this machine and what lies in a data directory; `mdns`: multicast, too."""
    found = interfaces.interfaces()
    targets = interfaces.multicast_targets(found)
    return [
        *machine.examine(),
        *directory.examine(data_dir),
        *databases.examine(data_dir),
        *disk.examine(data_dir),
        *interfaces.examine(found),
        *(multicast.judge(multicast.probe(targets)) if mdns else ()),
        *ports.examine(data_dir),
        *interfaces.firewall(ports.known_ports(data_dir)),
    ]
