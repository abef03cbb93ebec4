"""Packet rules: libnftables called directly, half a millisecond a rule instead of a process's twenty.

One context per namespace: it opens its channel to the kernel where the thread is at that moment.
"""

from __future__ import annotations

import ctypes
from functools import cache

from deploy.lab.namespace import in_namespace

LIBRARY = "libnftables.so.1"


class NftError(Exception):
    """The kernel or the parser refused a ruleset; the text is nft's, with the ruleset below it."""


@cache
def _library() -> ctypes.CDLL:
    library = ctypes.CDLL(LIBRARY)
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_new.argtypes = [ctypes.c_uint32]
    for name in ("nft_ctx_buffer_output", "nft_ctx_buffer_error", "nft_ctx_free"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
    for name in ("nft_ctx_get_output_buffer", "nft_ctx_get_error_buffer"):
        getattr(library, name).argtypes = [ctypes.c_void_p]
        getattr(library, name).restype = ctypes.c_char_p
    library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    return library


class Nft:
    """Runs nft commands in one namespace."""

    def __init__(self, namespace: int) -> None:
        self._namespace = namespace
        library = _library()
        with in_namespace(namespace):
            self._context = library.nft_ctx_new(0)
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)

    def run(self, commands: str) -> str:
        """Carry out the commands as one transaction; return what nft prints."""
        library = _library()
        with in_namespace(self._namespace):
            failed = library.nft_run_cmd_from_buffer(self._context, commands.encode())
        printed: bytes = library.nft_ctx_get_output_buffer(self._context)
        complaint: bytes = library.nft_ctx_get_error_buffer(self._context)
        if failed:
            raise NftError(f"{complaint.decode()}\n{commands}")
        return printed.decode()

    def close(self) -> None:
        """Free the context."""
        _library().nft_ctx_free(self._context)
