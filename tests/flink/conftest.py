"""A Flink cluster on loopback: a job manager, two task managers, Beam's job server and its pool of SDK workers.

Each is a process of its own, as on a real cluster; Maven brings the jars (``java/pom.xml``). All are stopped at the
end.
"""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
#: Where Maven's jars are kept between runs; git ignores it.
JARS = ROOT / ".cache" / "flink"
HOST = "127.0.0.1"
SLOTS = 2
#: Until a process answers, a job is done, or a killed task manager is missed; far more than it takes.
PATIENCE_S = 240

#: What Flink 1.19 needs on Java 17 (env.java.opts.all of the configuration that Flink ships).
JAVA_OPENS = [
    *(
        f"--add-opens=java.base/{p}=ALL-UNNAMED"
        for p in ("java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text",
                  "java.time", "java.util", "java.util.concurrent", "java.util.concurrent.atomic",
                  "java.util.concurrent.locks")
    ),
]  # fmt: skip

T = TypeVar("T")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """These tests run where ``-m`` asks for them, for they bring a cluster with them."""
    if "flink" in (config.getoption("markexpr") or ""):
        return
    for item in items:
        if item.get_closest_marker("flink"):
            item.add_marker(pytest.mark.skip(reason="starts a Flink cluster: run `make test-flink`"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@dataclasses.dataclass
class Process:
    """A running process with its log."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    def tail(self, lines: int = 40) -> str:
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join([f"--- {self.name} (exit status {self.popen.poll()}) ---", *text[-lines:]])

    def kill(self) -> None:
        """Ends it at once, as a lost machine would."""
        self.popen.kill()
        self.popen.wait()

    def stop(self) -> None:
        """Ends it and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.popen.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(timeout=10)


class Task(NamedTuple):
    """A subtask of a Flink job: its state, how often it was begun before, the task manager that has it."""

    state: str
    attempt: int
    manager: str


class Cluster:
    """The processes, and what Flink's REST interface says of its jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: dict[str, Process] = {}
        self.rest, self.rpc, self.jobs, self.pool = (free_port() for _ in range(4))
        self._jars = {profile: jars(profile) for profile in ("cluster", "job-server")}
        self._conf = Path(self._made("conf"))

    def start(self) -> None:
        """Starts everything and waits until the cluster has its task managers and takes jobs."""
        self._configure()
        main = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
        self._java("job-manager", main, f"--configDir={self._conf}")
        for name in ("task-manager-1", "task-manager-2"):
            self.start_task_manager(name)
        self._run("workers", [sys.executable, str(HERE / "worker_pool.py"), f"{HOST}:{self.pool}"])
        self._java(
            "job-server", "org.apache.beam.runners.flink.FlinkJobServerDriver",
            f"--flink-master={HOST}:{self.rest}", f"--job-host={HOST}", f"--job-port={self.jobs}",
            "--artifact-port=0", "--expansion-port=-1", f"--artifacts-dir={self.folder / 'artifacts'}",
        )  # fmt: skip
        self.wait(lambda: len(self.task_managers()) == 2, "two task managers to register")
        for port, what in ((self.jobs, "the job server"), (self.pool, "the pool of workers")):
            self.wait(lambda port=port: listens(port), f"{what} to listen")

    def start_task_manager(self, name: str) -> None:
        """Starts a task manager, by whose name the job manager knows it."""
        self._java(
            name,
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner",
            f"--configDir={self._conf}",
            f"-Dtaskmanager.resource-id={name}",
            f"-Dio.tmp.dirs={self._made(name)}",
        )

    def stop(self) -> None:
        """Stops every process that still runs."""
        for process in reversed(self.processes.values()):
            process.stop()

    def beam_args(self, written: list[str]) -> list[str]:
        """A configuration's ``beam_args``, pointed at this cluster."""
        here = {"--job_endpoint": f"{HOST}:{self.jobs}", "--environment_config": f"{HOST}:{self.pool}"}
        names = [arg.split("=")[0] for arg in written]
        assert set(here) <= set(names), f"beam_args name no {set(here) - set(names)}: {written}"
        return [f"{n}={here[n]}" if n in here else arg for n, arg in zip(names, written, strict=True)]

    def get(self, path: str) -> Any:
        """What Flink's REST interface answers."""
        with urllib.request.urlopen(f"http://{HOST}:{self.rest}/{path}", timeout=10) as answer:
            return json.load(answer)

    def task_managers(self) -> list[str]:
        return [t["id"] for t in self.get("taskmanagers")["taskmanagers"]]

    def job_ids(self) -> dict[str, str]:
        """The state of every job, by id."""
        return {job["jid"]: job["state"] for job in self.get("jobs/overview")["jobs"]}

    def subtasks(self, job: str) -> list[Task]:
        """Every subtask of a job."""
        vertices = self.get(f"jobs/{job}")["vertices"]
        return [
            Task(subtask["status"], subtask["attempt"], subtask.get("taskmanager-id", ""))
            for vertex in vertices
            for subtask in self.get(f"jobs/{job}/vertices/{vertex['id']}")["subtasks"]
        ]

    def wait(self, ready: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
        """The first answer that is not false; fails, with the tails of all logs, where none comes or a process ends."""
        last = time.monotonic() + patience_s
        while time.monotonic() < last:
            with contextlib.suppress(OSError, json.JSONDecodeError):
                if answer := ready():
                    return answer
            ended = [p.name for p in self.processes.values() if p.popen.poll() not in {None, -signal.SIGKILL}]
            if ended:
                pytest.fail(f"Waiting for {what}: {', '.join(ended)} ended.\n{self.tails()}", pytrace=False)
            time.sleep(0.05)
        pytest.fail(f"Waited {patience_s} s for {what}.\n{self.tails()}", pytrace=False)

    def tails(self) -> str:
        """The last lines of every log."""
        return "\n".join(process.tail() for process in self.processes.values())

    def _configure(self) -> None:
        settings = {
            "jobmanager.rpc.address": HOST,
            "jobmanager.rpc.port": self.rpc,
            "jobmanager.bind-host": HOST,
            "jobmanager.memory.process.size": "1g",
            "rest.address": HOST,
            "rest.bind-address": HOST,
            "rest.port": self.rest,
            "taskmanager.host": HOST,
            "taskmanager.bind-host": HOST,
            "taskmanager.numberOfTaskSlots": SLOTS,
            "taskmanager.cpu.cores": 1,
            # Flink's start scripts would work these out of one total; the process itself wants them all.
            "taskmanager.memory.framework.heap.size": "128m",
            "taskmanager.memory.framework.off-heap.size": "128m",
            "taskmanager.memory.task.heap.size": "512m",
            "taskmanager.memory.task.off-heap.size": "64m",
            "taskmanager.memory.managed.size": "256m",
            "taskmanager.memory.network.min": "512m",
            "taskmanager.memory.network.max": "512m",
            "taskmanager.memory.jvm-metaspace.size": "256m",
            "taskmanager.memory.jvm-overhead.min": "192m",
            "taskmanager.memory.jvm-overhead.max": "192m",
            "io.tmp.dirs": self._made("job-manager"),
            "taskmanager.load-balance.mode": "SLOTS",
            # Until a lost task manager is missed, Flink sends it tasks again: all attempts together must last longer.
            "heartbeat.interval": 1000,
            "heartbeat.timeout": 6000,
            "restart-strategy.type": "fixed-delay",
            "restart-strategy.fixed-delay.attempts": 4,
            "restart-strategy.fixed-delay.delay": "4 s",
        }
        (self._conf / "flink-conf.yaml").write_text("".join(f"{name}: {value}\n" for name, value in settings.items()))

    def _made(self, name: str) -> str:
        (self.folder / name).mkdir(exist_ok=True)
        return str(self.folder / name)

    def _java(self, name: str, main: str, *arguments: str) -> None:
        log = [f"-Dorg.slf4j.simpleLogger.{o}" for o in ("showDateTime=true", "dateTimeFormat=HH:mm:ss.SSS")]
        options = ["-Xmx768m", "-XX:+UseSerialGC", *JAVA_OPENS, *log]
        jars = self._jars["job-server" if name == "job-server" else "cluster"]
        self._run(name, ["java", *options, "-cp", f"{jars}/*", main, *arguments])

    def _run(self, name: str, command: list[str]) -> None:
        log = self.folder / f"{name}.log"
        # The pool starts its workers as "python": that of this virtual environment.
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        with log.open("ab") as out:
            popen = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder, start_new_session=True,
                env={**os.environ, "PATH": path},
            )  # fmt: skip
        self.processes[name] = Process(name, popen, log)


def listens(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=5):
        return True


def jars(profile: str) -> Path:
    """The folder with the jars of a profile of ``java/pom.xml``; Maven fills it anew where that file is newer."""
    pom, folder = HERE / "java" / "pom.xml", JARS / profile
    whole = folder / ".whole"
    if not whole.exists() or whole.stat().st_mtime < pom.stat().st_mtime:
        shutil.rmtree(folder, ignore_errors=True)
        command = ["mvn", "-B", "-q", "-f", str(pom), "-P", profile, "-DincludeScope=runtime"]
        done = subprocess.run(
            [*command, f"-DoutputDirectory={folder}", "dependency:copy-dependencies"],
            capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode:
            pytest.fail(f"Maven could not bring the jars of {profile}:\n{done.stdout[-4000:]}", pytrace=False)
        whole.touch()
    return folder


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The running cluster."""
    missing = [tool for tool in ("java", "mvn") if not shutil.which(tool)]
    if missing:
        pytest.fail(f"The Flink tests need Java 11 or 17 and Maven; not found: {', '.join(missing)}.", pytrace=False)
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    # Whoever ends the tests (CI's time limit, say) ends the cluster too.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        started.start()
        yield started
    finally:
        started.stop()
        signal.signal(signal.SIGTERM, before)
