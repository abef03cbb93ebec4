"""The TLS of a check: which context it shakes hands with, the handshake recorded, and the kind `tls`.

A bad certificate is a fact, not an accident. The first handshake verifies, and its verdict is the
failure word; then a second connection, which verifies nothing, fetches the leaf itself and lets an
http check go on, because what the platform answers behind a bad certificate is worth knowing. (One
connection would do with a verification callback, which the standard library does not offer.)

The control under a neutral name (C8) asks one thing only: does a handshake with this address
complete, or end in an alert, a reset or silence, when another name is said in it? Whoever answers
shows the certificate of a name of its own, so that is not verified and cannot fail the control;
everything else of the handshake is as a user's.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from typing import Final

import trio

from probe.core.draft import Draft, Elapsed
from probe.core.httpfacts import is_neutral, name_of, why_not_asked
from probe.core.outcome import Outcome, Refusal, Resolved, not_run, refused
from probe.io.box import Toolbox
from probe.io.reach import Reached, connect_again, draft_of, reach
from probe.io.reactor import DRIVEN
from probe.io.resolve import over_rate, resolve
from probe.io.stream import StampedStream, StepError, elapsed_between, instant_now
from probe.io.tlscontext import TlsContext
from probe.io.tlsstream import BadCertificateError, Peer, TlsStream
from proto.model import Check, ConfigError, Kind, Operation, Reason

ALPN: Final = {"1.1": "http/1.1", "2": "h2"}
"""How RFC 7301's registry spells the versions of HTTP."""


CIPHERS: Final = (
    "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
)
"""The standard library's own choice, said aloud: a distribution may build its Python with another, and
what a server is told must not depend on where a probe stands."""


def verifying_context(box: Toolbox) -> TlsContext:
    """The shared context that trusts the system's authorities, or `ca_file` alone when one is set.

    `ca_file` replaces the system's store instead of adding to it, so that an operator can say
    exactly what is trusted; who wants both puts both into the file.

    Raises:
        ConfigError: `ca_file` cannot be read or holds no certificate.
    """
    context = box.tls_contexts.get("verify")
    if context is None:
        # Reading an authority store costs tens of milliseconds: once, not per check.
        context = _users_context()
        _load_authorities(context, box.settings.ca_file)
        box.tls_contexts["verify"] = context
    return context


def _users_context() -> TlsContext:
    context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996; Debian's Python sets no minimum
    context.set_ciphers(CIPHERS)
    return context


def _load_authorities(context: ssl.SSLContext, ca_file: str | None) -> None:
    if ca_file is None:
        context.load_default_certs()
        return
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:  # ssl.SSLError is one
        finding = (
            f"{ca_file}: ca_file cannot be used ({error}); name a readable file of PEM certificates"
        )
        raise ConfigError((finding,)) from error


def looking_context(box: Toolbox) -> TlsContext:
    """The shared context that verifies nothing and speaks old versions: it only looks."""
    context = box.tls_contexts.get("look")
    if context is None:
        context = TlsContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        box.tls_contexts["look"] = context
    return context


def neutral_context(box: Toolbox) -> TlsContext:
    """The shared context that says hello exactly as the verifying one does, and verifies nothing."""
    context = box.tls_contexts.get("neutral")
    if context is None:
        context = _users_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        box.tls_contexts["neutral"] = context
    return context


# --- One handshake of a check, recorded ----------------------------------------------------------


async def open_session(
    reached: Reached, box: Toolbox, draft: Draft, *, sockets: list[socket.socket]
) -> TlsStream | None:
    """Shake hands and record it; None when there is nothing to go on with.

    After a bad certificate the session is that of a second connection, made only to look.
    """
    neutral = is_neutral(reached.check)
    session = _begin(reached, neutral_context(box) if neutral else verifying_context(box))
    started = instant_now()
    try:
        peer = await session.handshake(goes_on=_goes_on(reached.check))
    except BadCertificateError as error:
        draft.fail(Operation.TLS, error.fault, session.elapsed)
        draft.learn(cert_verify=error.verify_code, tls_us=session.elapsed.us)
        return await _look(reached, box, draft, sockets=sockets)
    except StepError as error:
        draft.fail(Operation.TLS, error.fault, elapsed_between(started, instant_now()))
        return None
    if neutral:
        _note_peer(draft, peer, session.elapsed, "handshake completed, whatever the certificate")
        return session
    draft.learn(cert_verify=0)
    _note_peer(draft, peer, session.elapsed, "handshake completed, certificate verified")
    return session


async def _look(
    reached: Reached, box: Toolbox, draft: Draft, *, sockets: list[socket.socket]
) -> TlsStream | None:
    """Connect again without verifying, for the leaf and for what is behind it.

    That is a contact like any other: where the rate per target is used up, nobody looks, and the
    verdict of the first connection stands.
    """
    address = reached.resolved.address
    if not box.may_contact(address):
        skipped = "no second connection to look behind the certificate"
        draft.note(Operation.CONNECT, None, classified_by=skipped, detail=over_rate(address))
        return None
    again = await connect_again(reached, box)
    if isinstance(again, Refusal):
        draft.take((again.attempt,))
        return None
    draft.take(again.connected.attempts)
    sockets.append(again.connected.sock)
    session = _begin(again, looking_context(box))
    started = instant_now()
    try:
        peer = await session.handshake(goes_on=_goes_on(reached.check))
    except StepError as error:
        draft.fail(Operation.TLS, error.fault, elapsed_between(started, instant_now()))
        return None
    _note_peer(draft, peer, session.elapsed, "handshake completed without verifying")
    return session


def raw_stream(reached: Reached) -> StampedStream:
    """The stream of an open connection."""
    return StampedStream(
        reached.connected.sock,
        address=reached.resolved.address,
        deadline=reached.deadline,
        waits=DRIVEN,
    )


def _begin(reached: Reached, context: TlsContext) -> TlsStream:
    """A session that has said nothing yet, and will offer the versions of HTTP that the check wants.

    A session takes over what its context offers when it is made and keeps it (SSL_new), so one
    context with its authorities in memory serves checks that offer differently.
    """
    if context.offered != reached.check.http_versions:
        context.offered = reached.check.http_versions
        context.set_alpn_protocols([ALPN[version] for version in context.offered])
    return TlsStream(raw_stream(reached), context, name=name_of(reached.check))


def _goes_on(check: Check) -> bool:
    """Is a request to follow? The last of our handshake then takes no packet of its own."""
    return check.kind is Kind.HTTP


def _note_peer(draft: Draft, peer: Peer, elapsed: Elapsed, sentence: str) -> None:
    words = (peer.version, peer.cipher, peer.alpn and f"ALPN {peer.alpn}") if draft.is_told else ()
    draft.note(Operation.TLS, elapsed, classified_by=sentence, detail=" ".join(filter(None, words)))
    draft.learn(tls_us=elapsed.us, tls_version=peer.version)
    if peer.certificate is not None:
        draft.learn(cert_sha256=peer.certificate.sha256)
        draft.certificates.append(peer.certificate)


async def run_tls(check: Check, box: Toolbox) -> Outcome:
    """Resolve, connect, shake hands; the row says who answered and whether to trust them."""
    why = why_not_asked(check)
    if why is not None:
        return not_run(check, reason=Reason.POLICY, why=why)
    started = trio.current_time()
    resolved = await resolve(check, box, deadline=started + check.timeout_s)
    if isinstance(resolved, Refusal):
        return refused(check, resolved)
    return await box.reactor.do(shake_hands(check, resolved, box, started=started))


async def shake_hands(
    check: Check, resolved: Resolved, box: Toolbox, *, started: float, is_told: bool = True
) -> Outcome:
    """What `run_tls` does after the address is known. Driven by the reactor."""
    reached = await reach(check, resolved, box, deadline=started + check.timeout_s)
    if isinstance(reached, Outcome):
        return reached
    draft = draft_of(reached, is_told=is_told)
    sockets = [reached.connected.sock]
    try:
        session = await open_session(reached, box, draft, sockets=sockets)
    finally:
        close_all(sockets)
    if session is not None:
        draft.learn(total_us=draft.total_us())
    return draft.finish()


def close_all(sockets: Iterable[socket.socket]) -> None:
    """The connections of one check."""
    for sock in sockets:
        sock.close()
