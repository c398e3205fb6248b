# Copyright 2026 The stepd authors
# SPDX-License-Identifier: Apache-2.0
"""How to talk to a server that wants TLS."""

from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True)
class Tls:
    """Files in PEM. With all left out, the system's authorities are trusted."""

    ca_file: str | Path | None = None  # who may sign the server's certificate
    cert_file: str | Path | None = None  # our own, for mutual TLS
    key_file: str | Path | None = None
    # The name to expect in the certificate, where it is not the target's.
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("cert_file and key_file go together")

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files. Raises OSError for one that cannot be read."""

        def read(file: str | Path | None) -> bytes | None:
            return None if file is None else Path(file).read_bytes()

        return grpc.ssl_channel_credentials(
            root_certificates=read(self.ca_file),
            private_key=read(self.key_file),
            certificate_chain=read(self.cert_file),
        )

    def channel_options(self) -> list[tuple[str, str]]:
        """The gRPC channel options that these settings need."""
        if self.server_name is None:
            return []
        return [("grpc.ssl_target_name_override", self.server_name)]
