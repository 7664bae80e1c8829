"""SAMPLE-AES in MPEG-TS, as Apple's "MPEG-2 Stream Encryption Format for HTTP Live Streaming" has it.

Only the samples are encrypted: a player finds pictures and sounds as usual, then decrypts them.
"""

import re
from collections.abc import Iterator
from typing import Final

from Cryptodome.Cipher import AES

IV: Final = bytes(16)
_SLICES: Final = (1, 5)  # types of H.264 units that hold pictures
# Types of streams in the table of a program: plain -> encrypted, for H.264 and AAC.
_TYPES: Final = {0x1B: 0xDB, 0x0F: 0xCF}
_PACKET: Final = 188


def seal_pictures(annex_b: bytes, key: bytes) -> bytes:
    """Encrypt one block in ten of each picture, after its first 32 bytes."""
    units = re.split(rb"(\x00\x00\x00?\x01)", annex_b)
    return b"".join(_seal_unit(unit, key) for unit in units)


def seal_sounds(adts: bytes, key: bytes) -> bytes:
    """Encrypt all whole blocks of each frame, after its header and 16 bytes."""
    return b"".join(_seal_frame(frame, key) for frame in frames(adts))


def seal_tables(stream: bytes) -> bytes:
    """Mark the streams of an MPEG-TS as encrypted, in its tables."""
    packets = [bytearray(stream[at : at + _PACKET]) for at in range(0, len(stream), _PACKET)]
    for packet in packets:
        table = 5 + packet[4]  # the table begins after the header and a field with its offset
        if packet[1] & 0x40 and not packet[3] & 0x20 and packet[table : table + 1] == b"\x02":
            _seal_table(packet, table)
    return b"".join(packets)


def frames(adts: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(adts):
        length = (int.from_bytes(adts[at + 3 : at + 6]) >> 5) & 0x1FFF
        yield adts[at : at + length]
        at += length


def _seal_unit(unit: bytes, key: bytes) -> bytes:
    if len(unit) <= 48 or unit[0] & 0x1F not in _SLICES:
        return unit
    sealed = bytearray(unit.replace(b"\x00\x00\x03", b"\x00\x00"))
    cipher = AES.new(key, AES.MODE_CBC, IV)
    for at in range(32, len(sealed) - 16, 160):
        sealed[at : at + 16] = cipher.encrypt(bytes(sealed[at : at + 16]))
    return re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\x00\x00\x03", bytes(sealed))


def _seal_frame(frame: bytes, key: bytes) -> bytes:
    begin = (7 if frame[1] & 1 else 9) + 16
    end = begin + max(0, len(frame) - begin) // 16 * 16
    return frame[:begin] + AES.new(key, AES.MODE_CBC, IV).encrypt(frame[begin:end]) + frame[end:]


def _seal_table(packet: bytearray, table: int) -> None:
    end = table + 3 + (int.from_bytes(packet[table + 1 : table + 3]) & 0xFFF) - 4
    at = table + 12 + (int.from_bytes(packet[table + 10 : table + 12]) & 0xFFF)
    while at < end:
        packet[at] = _TYPES.get(packet[at], packet[at])
        at += 5 + (int.from_bytes(packet[at + 3 : at + 5]) & 0xFFF)
    packet[end : end + 4] = _checksum(bytes(packet[table:end])).to_bytes(4)


def _checksum(table: bytes) -> int:
    """Return the CRC-32 as MPEG defines it."""
    register = 0xFFFFFFFF
    for byte in table:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 ^ (0x04C11DB7 if register & 0x80000000 else 0)) & 0xFFFFFFFF
    return register
