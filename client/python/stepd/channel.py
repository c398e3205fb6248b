# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""Connections to a server."""

from collections.abc import Sequence
from typing import Any

import grpc

from stepd.tls import Tls


def open_channel(
    target: str, tls: Tls | None, options: Sequence[tuple[str, Any]]
) -> grpc.Channel:
    """A channel to `target`; it connects with its first call."""
    # Replies are as long as what was asked for; requests are the server's to limit.
    settings = [
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    if tls is None:
        return grpc.insecure_channel(target, [*settings, *options])
    settings_tls = [*settings, *tls.channel_options(), *options]
    return grpc.secure_channel(target, tls.credentials(), settings_tls)
