"""What the benchmarks share: waiting, processes and the sections of docs/benchmarks.md."""

import os
import pathlib
import re
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORT = ROOT / "docs/benchmarks.md"
TICKS = os.sysconf("SC_CLK_TCK")


def say(text):
    print(text, flush=True)


def wait_for(what, condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.005)
    raise SystemExit(f"gave up waiting for {what} after {seconds} s")


def listens(port):
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Sink:
    """Postfix's smtp-sink, counting the messages that it took."""

    def __init__(self, port):
        self.taken = 0
        command = ["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{port}", "1000"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._count, daemon=True).start()
        wait_for("smtp-sink", lambda: listens(port), 10)

    def _count(self):
        tail = b""
        while chunk := self.process.stdout.read1(65536):
            tail = (tail + chunk)[-4096:]
            counts = re.findall(rb"mesg=(\d+)", tail)
            if counts:
                self.taken = int(counts[-1])

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


def stat_of(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return int(fields[1]), [int(field) for field in fields[11:15]]


def cpu_seconds(root_pid):
    """CPU of a process, of its ended children and of all that live below it."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = stat_of(entry)
            except (OSError, IndexError):
                continue
    family, ticks = {root_pid}, 0
    grown = True
    while grown:
        found = {pid for pid, (parent, _) in parents.items() if parent in family}
        grown = not found <= family
        family |= found
    for pid in family & parents.keys():
        ticks += sum(parents[pid][1])
    return ticks / TICKS


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{os.cpu_count()} cores, {cpu[1] if cpu else 'unknown processor'}"


def write_section(heading, lines):
    """Puts a section into the report in the place of its last version, or behind all others."""
    before, _, rest = REPORT.read_text().partition(f"\n{heading}\n")
    _, next_heading, after = rest.partition("\n## ")
    section = "\n".join([before.rstrip("\n"), "", heading, "", *lines])
    REPORT.write_text(section + "\n" + next_heading + after)
    say(f"wrote {REPORT.relative_to(ROOT)}")
