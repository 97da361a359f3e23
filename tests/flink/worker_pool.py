"""Beam's worker pool for several task managers on one machine: it starts a Python worker for each that asks.

A worker container runs ``apache_beam.runners.worker.worker_pool_main``, one beside each task manager. Task managers
number their workers alike, so a pool that two of them share would end one's worker when the other asks for it. This one
ends none: a worker ends by itself when its task manager hangs up. It listens on loopback only.
"""

import signal
import sys
import threading

import grpc
from apache_beam.portability.api import beam_fn_api_pb2, beam_fn_api_pb2_grpc
from apache_beam.runners.worker.worker_pool_main import BeamFnExternalWorkerPoolServicer
from apache_beam.utils.thread_pool_executor import shared_unbounded_instance


class WorkerPool(BeamFnExternalWorkerPoolServicer):
    """Starts workers, and lets them end by themselves."""

    def StopWorker(self, *_):  # noqa: N802 (gRPC's name)
        return beam_fn_api_pb2.StopWorkerResponse()


def main(address: str) -> None:
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # workers that have ended leave no trace
    server = grpc.server(shared_unbounded_instance())
    beam_fn_api_pb2_grpc.add_BeamFnExternalWorkerPoolServicer_to_server(WorkerPool(use_process=True), server)
    server.add_insecure_port(address)
    server.start()
    print(f"Listening for workers at {address}", file=sys.stderr, flush=True)
    stopped.wait()
    server.stop(None)


if __name__ == "__main__":
    main(sys.argv[1])
