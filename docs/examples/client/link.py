"""What carries the frames: a WebSocket over TLS 1.3, with nothing but the standard library. See docs/protocol/transport.md."""

import base64
import hashlib
import os
import select
import socket
import ssl
import time

LARGEST = 4 * 1024 * 1024
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455


class Closed(Exception):
    """The connection is over."""


class Link:
    def __init__(self, host, port, ca, certificate, key):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks the chain and the name
        tls.minimum_version = ssl.TLSVersion.TLSv1_3
        tls.load_verify_locations(ca)
        tls.load_cert_chain(certificate, key)
        self.socket = tls.wrap_socket(socket.create_connection((host, port), timeout=5), server_hostname=host)
        if any(value.startswith("urn:tombolo:node:") for _, value in self.socket.getpeercert().get("subjectAltName", ())):
            raise Closed("a node answers where the hub should")
        self.read = b""
        self.heard = time.monotonic()
        self.upgrade(host, port)

    def upgrade(self, host, port):
        nonce = base64.b64encode(os.urandom(16))
        self.socket.sendall(b"\r\n".join([
            b"GET /link HTTP/1.1", f"Host: {host}:{port}".encode(), b"Upgrade: websocket", b"Connection: Upgrade",
            b"Sec-WebSocket-Key: " + nonce, b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Protocol: tombolo.1", b"", b"",
        ]))
        while b"\r\n\r\n" not in self.read:
            self.fill(5)
        head, self.read = self.read.split(b"\r\n\r\n", 1)
        status = head.split(b" ", 2)[1]
        if status != b"101":  # the body says why
            raise Closed(f"the hub answers {status.decode()}: {self.read.decode(errors='replace')}")
        expected = base64.b64encode(hashlib.sha1(nonce + MAGIC).digest())
        if b"sec-websocket-accept: " + expected.lower() not in head.lower():
            raise Closed("what answers there is no WebSocket")

    def fill(self, seconds):
        """Reads something, or raises TimeoutError."""
        if not self.socket.pending() and not select.select([self.socket], [], [], max(seconds, 0))[0]:
            raise TimeoutError
        data = self.socket.recv(65536)
        if not data:
            raise Closed("the connection ended without a goodbye")
        self.read += data
        self.heard = time.monotonic()

    def send(self, frame, opcode=2):
        """One binary message; a client masks what it sends."""
        length = len(frame)
        size = bytes([128 | length]) if length < 126 else b"\xfe" + length.to_bytes(2) if length < 65536 else b"\xff" + length.to_bytes(8)
        mask = os.urandom(4)
        pad = int.from_bytes((mask * (length // 4 + 1))[:length])
        masked = (int.from_bytes(frame) ^ pad).to_bytes(length)
        self.socket.sendall(bytes([128 | opcode]) + size + mask + masked)

    def receive(self, seconds):
        """The next message, put together from its fragments; None when none came in this time."""
        message, until = b"", time.monotonic() + seconds
        while True:
            try:
                final, opcode, part = self.fragment(until)
            except TimeoutError:
                if message:  # the rest is on its way
                    until = time.monotonic() + 45
                    continue
                return None
            if opcode == 8:
                raise Closed(f"the hub ends it: {int.from_bytes(part[:2])} {part[2:].decode(errors='replace')}")
            if opcode == 9:
                self.send(part, opcode=10)
            elif opcode in (0, 2):
                message += part
                if len(message) > LARGEST:
                    raise Closed("a frame above 4 MiB")
                if final:
                    return message

    def fragment(self, until):
        def need(count):
            while len(self.read) < count:
                self.fill(until - time.monotonic())

        need(2)
        length, at = self.read[1] & 127, 2
        if length > 125:
            at += 2 if length == 126 else 8
            need(at)
            length = int.from_bytes(self.read[2:at])
        if length > LARGEST:
            raise Closed("a frame above 4 MiB")
        need(at + length)
        first, part = self.read[0], self.read[at:at + length]
        self.read = self.read[at + length:]
        return first >= 128, first & 15, part

    def close(self):
        try:
            self.send((1000).to_bytes(2), opcode=8)
        except OSError:
            pass
        self.socket.close()
