# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""The policy behind Triton by pytriton: gRPC, one model instance, its batching."""

from __future__ import annotations

import signal

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig
from tests.bench.peers.session_steps import (
    MAX_BATCH,
    MAX_WAIT_SECONDS,
    SessionSteps,
    free_port,
    parse,
)


def main() -> None:
    options = parse(__doc__)
    sessions = SessionSteps(options.model)

    @batch  # type: ignore[untyped-decorator]
    def step(
        actor: np.ndarray, begins: np.ndarray, numbers: np.ndarray
    ) -> dict[str, np.ndarray]:
        """`numbers` [B, 3 + observations]: action, reward, done, observation."""
        actions = sessions.step(
            [
                {
                    "actor": str(actor[i, 0]),
                    "begins": bool(begins[i, 0]),
                    "action": numbers[i, 0],
                    "reward": numbers[i, 1],
                    "done": numbers[i, 2],
                    "obs_continuous": numbers[i, 3:],
                }
                for i in range(len(actor))
            ]
        )
        return {"action": np.array(actions, np.int64)[:, None]}

    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    port = free_port()
    config = TritonConfig(
        grpc_address="127.0.0.1",
        grpc_port=port,
        http_port=free_port(),
        metrics_port=free_port(),
        log_verbose=0,
    )
    wait = int(MAX_WAIT_SECONDS * 1e6)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="policy",
            infer_func=step,
            inputs=[
                Tensor(name="actor", dtype=np.int64, shape=(1,)),
                Tensor(name="begins", dtype=np.bool_, shape=(1,)),
                Tensor(name="numbers", dtype=np.float32, shape=(-1,)),
            ],
            outputs=[Tensor(name="action", dtype=np.int64, shape=(1,))],
            config=ModelConfig(
                max_batch_size=MAX_BATCH,
                batcher=DynamicBatcher(max_queue_delay_microseconds=wait),
            ),
        )
        triton.run()
        options.port_file.write_text(f"{port}\n")
        signal.sigwait(stop)


if __name__ == "__main__":
    main()
