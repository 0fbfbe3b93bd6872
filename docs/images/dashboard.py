"""
Draw the panels of the dashboard from a real run: ``python docs/images/dashboard.py PICTURE [MINUTES]``.

Two servers with the Corefile of clusters answer dnsperf, on the fake API server of the tests with 300 Services and a change a second, with
a third kdns as their upstream; a real Prometheus scrapes them. On the way the upstream stands still for a while, and one server is given a
Corefile that it cannot use. Then Prometheus is asked what Grafana would ask it, and the answers are drawn.

It needs prometheus and dnsperf (Debian has both) and matplotlib.
"""

from __future__ import annotations

import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[2]
API, UPSTREAM, PROMETHEUS = 18901, 18902, 18903
SERVERS = {"coredns-a": 19053, "coredns-b": 19153}
"""The port of DNS of each; metrics, health and readiness are the next three."""

RATE = 900
"""Queries a second to each server."""

SCRAPE = 5
"""Seconds between two scrapes."""

COLUMNS = 4


def corefile(port: int, folder: Path) -> str:
    """The Corefile of clusters, with the ports of this machine."""
    text = (ROOT / "conf" / "cluster" / "Corefile").read_text(encoding="utf-8")
    for old, new in (
        (".:53 {", f".:{port} {{"),
        (":9153", f":{port + 1}"),
        ("health {", f"health :{port + 2} {{"),
        ("ready\n", f"ready :{port + 3}\n"),
        ("ttl 30\n", f"ttl 30\n       kubeconfig {folder / 'kubeconfig'}\n"),
        ("/etc/resolv.conf", f"127.0.0.1:{UPSTREAM}"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    return text


def questions(folder: Path) -> Path:
    """What clients of a cluster ask: its Services, the names that search paths make, and some of the world."""
    dice = random.Random(4)
    lines = []
    for _ in range(20_000):
        number, kind = int(dice.paretovariate(0.6)) % 300, dice.random()
        name = f"service-{number:05d}.bulk-{number % 50:03d}.svc.cluster.local"
        outside = f"host-{int(dice.paretovariate(0.6)) % 2000}.example.org"
        if kind > 0.45:
            searched = dice.choice((".shop.svc.cluster.local", ".svc.cluster.local", ".cluster.local"))
            name = outside + searched if kind > 0.7 else outside
        lines.append(f"{name} {dice.choice(('A', 'AAAA'))}\n")
    file = folder / "questions"
    file.write_text("".join(lines))
    return file


@contextmanager
def running(folder: Path, name: str, *command: object) -> Iterator[subprocess.Popen[bytes]]:
    """A program, until the end of the block; what it says goes into a file."""
    with (folder / f"{name}.log").open("wb") as log:
        words = [str(word) for word in command]
        process = subprocess.Popen(
            words, cwd=folder, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            process.wait(20)


def wait_for(url: str) -> None:
    """Until a page is there."""
    for _ in range(300):
        try:
            with urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit(f"nothing at {url}")


def change(number: int) -> None:
    """Give the cluster another endpoint, dated as its controllers date it."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    slice_ = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "web-1",
            "labels": {"kubernetes.io/service-name": "web"},
            "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": now},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [f"10.1.{number // 250}.{number % 250 + 1}"], "conditions": {"ready": True}}],
        "ports": [{"name": "http", "port": 80, "protocol": "TCP"}],
    }
    slices = f"http://127.0.0.1:{API}/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    headers = {"Content-Type": "application/merge-patch+json" if number else "application/json"}
    url, method = (f"{slices}/web-1", "PATCH") if number else (slices, "POST")
    urlopen(Request(url, json.dumps(slice_).encode(), headers, method=method), timeout=10).close()


def run(folder: Path, minutes: float, stack: ExitStack) -> tuple[float, float]:
    """Let it all run, and say from when to when there is something to see."""
    python = sys.executable
    (folder / "hosts").write_text("".join(f"192.0.2.{n % 250 + 1} host-{n}.example.org\n" for n in range(2000)))
    upstream = f".:{UPSTREAM} {{\n bind 127.0.0.1\n hosts {folder / 'hosts'} {{\n  ttl 3\n }}\n}}\n"
    (folder / "Upstream").write_text(upstream)
    kubeconfig = folder / "kubeconfig"
    api = (python, "-m", "tests.apiserver", "--populate", 300, "--port", API, "--kubeconfig-out", kubeconfig)
    stack.enter_context(running(folder, "api", *api))
    resolver = stack.enter_context(running(folder, "upstream", python, "-m", "kdns", "-conf", folder / "Upstream"))
    wait_for(f"http://127.0.0.1:{API}/version")
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"ports": [{"port": 80, "name": "http"}]},
    }
    made = Request(f"http://127.0.0.1:{API}/api/v1/namespaces/default/services", json.dumps(service).encode())
    made.add_header("Content-Type", "application/json")
    urlopen(made, timeout=10).close()
    servers = {}
    for name, port in SERVERS.items():
        (folder / name).write_text(corefile(port, folder))
        servers[name] = stack.enter_context(
            running(folder, f"{name}.kdns", python, "-m", "kdns", "-conf", folder / name)
        )
        wait_for(f"http://127.0.0.1:{port + 3}/ready")
    targets = [
        {"targets": [f"127.0.0.1:{port + 1}"], "labels": {"job": "kube-dns", "instance": name}}
        for name, port in SERVERS.items()
    ]
    settings = {
        "global": {"scrape_interval": f"{SCRAPE}s", "evaluation_interval": "5s"},
        "rule_files": [str(ROOT / "conf" / "monitoring" / "rules.yaml")],
        "scrape_configs": [{"job_name": "kube-dns", "static_configs": targets}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(settings))
    flags = ("--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{PROMETHEUS}", "--storage.tsdb.path=data")
    stack.enter_context(running(folder, "prometheus", "prometheus", *flags))
    wait_for(f"http://127.0.0.1:{PROMETHEUS}/-/ready")
    asked, seconds = questions(folder), minutes * 60
    loads = []
    for name, port in SERVERS.items():
        load = ("dnsperf", "-s", "127.0.0.1", "-p", port, "-d", asked, "-l", int(seconds) + 1, "-Q", RATE)
        loads.append(stack.enter_context(running(folder, f"{name}.dnsperf", *load)))
    began = time.time()
    events = [
        (0.4, lambda: resolver.send_signal(signal.SIGSTOP)),
        (0.5, lambda: resolver.send_signal(signal.SIGCONT)),
        (0.65, lambda: misconfigure(folder, servers["coredns-b"], broken=True)),
        (0.8, lambda: misconfigure(folder, servers["coredns-b"], broken=False)),
    ]
    number = 0
    while (gone := time.time() - began) < seconds:
        change(number)
        number += 1
        if any(load.poll() is not None for load in loads):
            raise SystemExit("the load ended too early")
        while events and gone / seconds >= events[0][0]:
            events.pop(0)[1]()
        time.sleep(1)
    return began, time.time()


def misconfigure(folder: Path, server: subprocess.Popen[bytes], *, broken: bool) -> None:
    """Give coredns-b a Corefile with a word that is none, or the good one again."""
    text = corefile(SERVERS["coredns-b"], folder)
    (folder / "coredns-b").write_text(text.replace("cache 30", "cahce 30") if broken else text)
    server.send_signal(signal.SIGUSR1)


def ask(expression: str, began: float, ended: float) -> list[tuple[dict[str, str], list[float], list[float]]]:
    """What Prometheus says to an expression: labels, minutes, values."""
    query = expression.replace("$__rate_interval", "30s").replace("$job", ".*").replace("$instance", ".*")
    words = urlencode({"query": query, "start": began, "end": ended, "step": SCRAPE})
    with urlopen(f"http://127.0.0.1:{PROMETHEUS}/api/v1/query_range?{words}", timeout=30) as reply:
        found = json.load(reply)
    series = []
    for one in found["data"]["result"]:
        points = [((at - began) / 60, float(value)) for at, value in one["values"]]
        points = [(at, value) for at, value in points if math.isfinite(value)]
        series.append((one["metric"], [at for at, _ in points], [value for _, value in points]))
    return series


def legend_of(text: str, labels: dict[str, str]) -> str:
    """A legend as Grafana fills it in."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1]) or "(none)", text)


def draw(began: float, ended: float, picture: Path) -> int:
    """Draw all panels, and say how many of them show something."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from matplotlib.ticker import EngFormatter, FuncFormatter, PercentFormatter
    from PIL import Image

    panels = json.loads((ROOT / "conf" / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))["panels"]
    panels = [panel for panel in panels if panel["type"] == "timeseries"]
    rows = (len(panels) + COLUMNS - 1) // COLUMNS
    figure, axes = pyplot.subplots(rows, COLUMNS, figsize=(5 * COLUMNS, 2.9 * rows))
    shown = 0
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    for panel, axis in zip(panels, axes.flat, strict=False):
        lines = [
            (legend_of(target["legendFormat"], labels), minutes, values)
            for target in panel["targets"]
            for labels, minutes, values in ask(target["expr"], began, ended)
        ]
        shown += bool(lines)
        for legend, minutes, values in lines:
            axis.plot(minutes, values, label=legend, linewidth=1.2)
        unit = panel["fieldConfig"]["defaults"]["unit"]
        units = {
            "reqps": EngFormatter("/s"),
            "ops": EngFormatter("/s"),
            "s": EngFormatter("s"),
            "bytes": EngFormatter("B"),
        }
        percent = PercentFormatter(1.0)
        axis.yaxis.set_major_formatter(
            units.get(unit, percent if unit == "percentunit" else FuncFormatter(lambda y, _: f"{y:g}"))
        )
        axis.set_title(panel["title"], fontsize=10, loc="left")
        axis.set_xlim(0, (ended - began) / 60)
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=7)
        axis.grid(alpha=0.3)
        # Of many lines only those that left zero are named, so that names do not cover the panel.
        named = [line for line, (_, _, values) in zip(axis.lines, lines, strict=True) if len(lines) <= 6 or any(values)]
        if named:
            axis.legend(handles=named, fontsize=6, loc="upper left", framealpha=0.6)
    figure.tight_layout()
    figure.savefig(picture, dpi=70)
    Image.open(picture).convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(picture, optimize=True)
    return shown


def main(picture: Path, minutes: float) -> None:
    """Run, draw, and say what was seen."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        began, ended = run(folder, minutes, stack)
        shown = draw(began, ended, picture)
        alerts = ask("count by (alertname, alertstate) (ALERTS)", began, ended)
        print(f"{shown} panels show something; alerts:", *(labels for labels, _, _ in alerts), sep="\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 8.0)
