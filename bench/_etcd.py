"""Three etcd members (Debian's etcd-server) and a Go client, each a process."""

import hashlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from bench._process import CACHE, Child, Missing, free_ports

SOURCE = Path(__file__).parent / "etcdload" / "main.go"
DEBIAN_GOPATH = "/usr/share/gocode"
ADVICE = "apt-get install etcd-server golang-go golang-etcd-server-dev"


class EtcdCluster:
    """etcd's side of the comparison, with its own defaults (heartbeat 100 ms, election 1000 ms)."""

    name = "etcd"

    def __init__(self, directory: Path, size: int = 3) -> None:
        """Start it. Raise Missing if etcd or what its client needs is not installed."""
        program, client = _etcd(), _client()
        ports = free_ports(2 * size)
        urls = [f"http://127.0.0.1:{port}" for port in ports]
        self._endpoints, peers = urls[:size], urls[size:]
        initial = ",".join(f"n{at}={url}" for at, url in enumerate(peers))
        self._members = [
            _start_member(program, directory / f"n{at}", (self._endpoints[at], peers[at]), initial)
            for at in range(size)
        ]
        self._client = Child([str(client), *self._endpoints], quiet=True)
        self._leader: int = self._client.ask({"do": "leader"})["index"]

    def load(self, outstanding: int, size: int, seconds: float) -> dict[str, float]:
        """Measure with the client's process."""
        order = {"do": "load", "outstanding": outstanding, "size": size, "s": seconds}
        result: dict[str, float] = self._client.ask(order)
        return result

    def fail_over(self, number: signal.Signals) -> float:
        """Kill or stop the leader; answer the seconds until a later command is committed."""
        self._leader = self._client.ask({"do": "leader"})["index"]
        rest = [at for at in range(len(self._members)) if at != self._leader]
        start = time.monotonic()
        self._members[self._leader].send_signal(number)
        at_ns: int = self._client.ask({"do": "probe", "to": rest})["at_ns"]
        return at_ns / 1e9 - start

    def close(self) -> None:
        self._client.kill()
        for member in self._members:
            member.kill()
            member.wait()


def _etcd() -> str:
    program = shutil.which("etcd")
    if program is None:
        raise Missing(f"etcd is not installed: {ADVICE}")
    return program


def _client() -> Path:
    """Build the client, once per version of its source."""
    version = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    binary = CACHE / f"etcdload-{version}"
    if binary.exists():
        return binary
    if shutil.which("go") is None or not Path(DEBIAN_GOPATH).exists():
        raise Missing(f"etcd's Go client cannot be built: {ADVICE}")
    CACHE.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": DEBIAN_GOPATH, "GOFLAGS": ""}
    environment.setdefault("GOCACHE", str(CACHE / "go"))
    command = ["go", "build", "-o", str(binary), str(SOURCE)]
    built = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise Missing(f"etcd's Go client cannot be built ({ADVICE}):\n{built.stderr}")
    return binary


def _start_member(
    program: str, directory: Path, urls: tuple[str, str], initial: str
) -> "subprocess.Popen[bytes]":
    client_url, peer_url = urls
    options = {
        "name": directory.name,
        "data-dir": str(directory),
        "listen-client-urls": client_url,
        "advertise-client-urls": client_url,
        "listen-peer-urls": peer_url,
        "initial-advertise-peer-urls": peer_url,
        "initial-cluster": initial,
        "initial-cluster-state": "new",
        "log-level": "error",
        "quota-backend-bytes": str(8 * 1024**3),
    }
    command = [program, *(f"--{option}={value}" for option, value in options.items())]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
