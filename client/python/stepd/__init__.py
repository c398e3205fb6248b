# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Client of stepd, a daemon that serves reinforcement-learning policies.

    with stepd.connect("localhost:50051") as client:
        session = client.session("actor-7")
        result = session.step({"action": 0, "obs_continuous": observation})
        env.step(result.action)

The server keeps each actor's context; a step sends one observation and an ID.
"""

from stepd.client import Client, connect
from stepd.description import Description, Field, Limits, Output
from stepd.errors import (
    Cancelled,
    ContextFull,
    DeadlineExceeded,
    Draining,
    FieldError,
    InternalError,
    InvalidRequest,
    Loading,
    NotAllowed,
    OutOfOrder,
    Overloaded,
    SessionExists,
    SessionInputsRefused,
    SessionsFull,
    SessionUnknown,
    StepdError,
    Unavailable,
    VersionUnavailable,
    WeightsBusy,
    WeightsRefused,
)
from stepd.model import ModelClient, Version, connect_model
from stepd.options import BatchOptions, StepOptions
from stepd.results import BatchResult, EvaluateResult, StepResult, StepsResult
from stepd.retry import Retry
from stepd.sampling import Sampling
from stepd.session import Session
from stepd.sessions import EndedSession, SessionInfo, SessionList, Sessions
from stepd.stream import StepStream
from stepd.tls import Tls
from stepd.trajectories import FinishedSteps, Place, TrajectoryReader

__version__ = "0.1.0"

__all__ = [
    "BatchOptions",
    "BatchResult",
    "Cancelled",
    "Client",
    "ContextFull",
    "DeadlineExceeded",
    "Description",
    "Draining",
    "EndedSession",
    "EvaluateResult",
    "Field",
    "FieldError",
    "FinishedSteps",
    "InternalError",
    "InvalidRequest",
    "Limits",
    "Loading",
    "ModelClient",
    "NotAllowed",
    "OutOfOrder",
    "Output",
    "Overloaded",
    "Place",
    "Retry",
    "Sampling",
    "Session",
    "SessionExists",
    "SessionInfo",
    "SessionInputsRefused",
    "SessionList",
    "SessionUnknown",
    "Sessions",
    "SessionsFull",
    "StepOptions",
    "StepResult",
    "StepStream",
    "StepdError",
    "StepsResult",
    "Tls",
    "TrajectoryReader",
    "Unavailable",
    "Version",
    "VersionUnavailable",
    "WeightsBusy",
    "WeightsRefused",
    "connect",
    "connect_model",
]
