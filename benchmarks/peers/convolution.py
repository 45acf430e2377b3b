"""The worker that says how fast the machine is now: the convolution of `benchmarks.limits`."""

from __future__ import annotations

from benchmarks.peers.worker import Spec, Work, serve


def prepare(spec: Spec) -> Work:
    """The probe, in the type that `spec["dtype"]` says."""
    from benchmarks.limits import Probe

    probe = Probe(spec["dtype"])
    return Work({"convolution": probe.run}, {"operations": probe.operations})


if __name__ == "__main__":
    serve(prepare)
