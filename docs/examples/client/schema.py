"""Protobuf as far as the link needs it, read from the schema itself: messages are dicts.

encode(NAME, {...}) gives bytes; decode(NAME, bytes) gives a dict with every field: absent numbers, texts and lists are 0, "" and [],
absent messages, optional fields and members of a oneof are None.
"""

import pathlib
import re

NUMBERS = {"uint32", "uint64", "bool", "sint64"}


def read(path):
    """{message: {field: (tag, repeated, presence, type)}}, and {enum: {word: number}}."""
    words = re.findall(r'"[^"]*"|\w[\w.]*|[{}=;]', re.sub(r"//[^\n]*", "", pathlib.Path(path).read_text()))
    messages, enums, at = {}, {}, 0
    while at < len(words):
        if words[at] not in ("message", "enum"):
            at = words.index(";", at) + 1
            continue
        kind, name, at, fields, oneof = words[at], words[at + 1], at + 3, {}, False
        while words[at] != "}" or oneof:
            if words[at] == "oneof":
                oneof, at = True, at + 3
            elif words[at] == "}":
                oneof, at = False, at + 1
            else:
                end = words.index(";", at)
                *label, tag = words[at:end][:-2] + [words[end - 1]]
                if kind == "enum":
                    fields[label[0]] = int(tag)
                else:
                    fields[label[-1]] = (int(tag), "repeated" in label, oneof or "optional" in label, label[-2])
                at = end + 1
        at += 1
        (enums if kind == "enum" else messages)[name] = fields
    return messages, enums


class Schema:
    def __init__(self, path):
        self.messages, self.enums = read(path)

    def encode(self, name, message):
        out = bytearray()
        for field, (tag, repeated, presence, kind) in sorted(self.messages[name].items(), key=lambda item: item[1][0]):
            value = message.get(field)
            numeric = kind in NUMBERS or kind in self.enums
            if repeated and numeric:
                packed = b"".join(varint(self.number(kind, one)) for one in value or [])
                out += key(tag, 2) + varint(len(packed)) + packed if packed else b""
                continue
            for one in value or [] if repeated else [] if value is None else [value]:
                if numeric:
                    number = self.number(kind, one)
                    out += key(tag, 0) + varint(number) if number or presence else b""
                    continue
                body = self.body(kind, one)
                if body or repeated or presence or kind in self.messages:
                    out += key(tag, 2) + varint(len(body)) + body
        return bytes(out)

    def number(self, kind, value):
        if kind in self.enums:
            return self.enums[kind][value]
        return (value << 1) ^ (value >> 63) if kind == "sint64" else int(value)

    def body(self, kind, value):
        if kind == "string":
            return value.encode()
        return bytes(value) if kind == "bytes" else self.encode(kind, value)

    def decode(self, name, data):
        fields = self.messages[name]
        empty = {"string": "", "bytes": b"", "bool": False}
        message = {}
        for field, (_, repeated, presence, kind) in fields.items():
            alone = presence or kind in self.messages
            message[field] = [] if repeated else None if alone else self.word(kind, 0) if kind in self.enums else empty.get(kind, 0)
        by_tag = {tag: (field, repeated, kind) for field, (tag, repeated, _, kind) in fields.items()}
        at = 0
        while at < len(data):
            word, at = unvarint(data, at)
            if word & 7 == 0:
                value, at = unvarint(data, at)
            elif word & 7 == 2:
                length, at = unvarint(data, at)
                value, at = data[at:at + length], at + length
            else:
                raise ValueError("a wire type that this schema has not")
            if word >> 3 not in by_tag:
                continue  # of a newer peer
            field, repeated, kind = by_tag[word >> 3]
            for one in self.values(kind, value):
                if repeated:
                    message[field].append(one)
                else:
                    message[field] = one
        return message

    def values(self, kind, value):
        if kind in self.messages:
            return [self.decode(kind, value)]
        if isinstance(value, int):
            return [self.word(kind, value)]
        if kind in ("string", "bytes"):
            return [value.decode() if kind == "string" else bytes(value)]
        numbers, at = [], 0
        while at < len(value):  # packed
            number, at = unvarint(value, at)
            numbers.append(self.word(kind, number))
        return numbers

    def word(self, kind, number):
        if kind in self.enums:
            return next(word for word, own in self.enums[kind].items() if own == number)
        if kind == "sint64":
            return (number >> 1) ^ -(number & 1)
        return bool(number) if kind == "bool" else number


def key(tag, wire):
    return varint(tag << 3 | wire)


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def unvarint(data, at):
    number, shift = 0, 0
    while True:
        byte = data[at]
        number |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return number, at
