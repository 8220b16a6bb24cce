#!/usr/bin/env python3
"""A small edge, written from docs/protocol.md: it joins, fills, follows, writes, and goes on where it was.

    client.py join --data D --server HOST:10002 --token T [--node NAME]
    client.py put  --data D COLLECTION/KEY JSON          a write into the outbox: the link may be down
    client.py add  --data D COLLECTION/KEY FIELD N       the same: adds to a counter
    client.py sync --data D                              connects, until both sides have everything
    client.py show --data D                              what it holds

Python 3.11 and the openssl command; nothing else. What it leaves out is listed in README.md.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import random
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.request

from link import Closed, Link
from schema import Schema

SCHEMA = Schema(pathlib.Path(__file__).resolve().parents[3] / "proto/schema/tombolo.proto")
WINDOW, FRAME = 1024 * 1024, 64 * 1024


def now_ms():
    return time.time_ns() // 1_000_000


def hash16(data):
    return hashlib.sha256(data).digest()[:16]


def place(position):
    """A position as something that can be compared: inside the next revision lies above the revision."""
    inside = position["inside"]
    return (position["revision"], 1, inside["collection"].encode(), inside["key"].encode()) if inside else (position["revision"], 0, b"", b"")


# ---- the store: one file, and every transaction is durable when it ends

TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value);
CREATE TABLE IF NOT EXISTS epochs (epoch TEXT, first INTEGER);
CREATE TABLE IF NOT EXISTS definitions (name TEXT PRIMARY KEY, revision INTEGER, json TEXT);
CREATE TABLE IF NOT EXISTS grants (collection TEXT, partition TEXT, since INTEGER, frm INTEGER, at BLOB, done INTEGER, mark INTEGER);
CREATE TABLE IF NOT EXISTS records (collection TEXT, key TEXT, partition TEXT, revision INTEGER, value TEXT, mark INTEGER, PRIMARY KEY (collection, key));
CREATE TABLE IF NOT EXISTS staging (collection TEXT, key TEXT, record BLOB, PRIMARY KEY (collection, key));
CREATE TABLE IF NOT EXISTS writes (number INTEGER PRIMARY KEY, bytes BLOB, verdict TEXT, code TEXT);
"""


class Store:
    def __init__(self, data):
        self.db = sqlite3.connect(data / "client.db")
        self.db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;" + TABLES)
        if self.get("database") is None:
            with self.db:
                self.put("database", os.urandom(16).hex())

    def get(self, name, default=None):
        row = self.db.execute("SELECT value FROM meta WHERE name = ?", [name]).fetchone()
        return default if row is None else row[0]

    def put(self, name, value):
        self.db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", [name, value])

    def rows(self, sql, *values):
        return self.db.execute(sql, values).fetchall()

    def cursor(self):
        blob = self.get("cursor")
        return SCHEMA.decode("Position", blob) if blob is not None else None

    def grants_hash(self):
        text = lambda own: len(own.encode()).to_bytes(8, "little") + own.encode()
        data = b""
        for collection, partition, since in self.rows("SELECT collection, partition, since FROM grants ORDER BY collection, partition"):
            data += text("grant") + text(collection) + text("\0" if partition is None else partition) + text(str(since))
        for name, revision in self.rows("SELECT name, revision FROM definitions ORDER BY name"):
            data += text("definition") + text(name) + text(str(revision))
        return hash16(data)

    def fills(self):
        grants = self.rows("SELECT collection, partition, since, frm, at FROM grants WHERE NOT done ORDER BY collection, partition")
        return [{"collection": c, "partition": p, "since": s, "from": f, "at": SCHEMA.decode("Position", at)} for c, p, s, f, at in grants]

    def newest(self):
        return self.rows("SELECT coalesce(max(number), 0) FROM writes")[0][0]

    def pending(self, above=0):
        return self.rows("SELECT number, bytes FROM writes WHERE verdict IS NULL AND number > ? ORDER BY number", above)

    def hello(self):
        cursor, pending = self.cursor(), self.pending()
        return {
            "version_min": 1, "version_max": 1,
            "database": bytes.fromhex(self.get("database")), "session": self.get("session", 0),
            "epochs": [{"epoch": int(epoch), "first": first} for epoch, first in self.rows("SELECT epoch, first FROM epochs ORDER BY rowid")],
            "cursor": None if cursor is None else {"epoch": self.epoch_of(cursor["revision"]), "position": cursor},
            "grants_hash": self.grants_hash(), "fills": self.fills(),
            "newest_write": self.newest(), "outbox_first": pending[0][0] if pending else 0,
            "now_ms": now_ms(), "software": "docs/examples/client", "outbox_writes": len(pending),
            "previous": bytes.fromhex(self.get("previous", "")),
        }

    def epoch_of(self, revision):
        known = self.rows("SELECT epoch FROM epochs WHERE first <= ? ORDER BY rowid DESC LIMIT 1", revision)
        return int(known[0][0] if known else self.get("epoch", "0"))

    def ack(self):
        pending = self.pending()
        return {"cursor": self.cursor(), "fills": self.fills(), "answered": pending[0][0] - 1 if pending else self.newest()}

    # -- what Welcome says, all of it or nothing

    def adopt(self, welcome):
        self.refuse_copies(welcome)
        with self.db:
            self.put("session", welcome["session"])
            before, cursor = self.cursor(), welcome["cursor"]["position"]
            if before is None or place(before) != place(cursor):
                self.db.execute("DELETE FROM staging")
            self.put("cursor", SCHEMA.encode("Position", cursor))
            self.put("epoch", str(welcome["cursor"]["epoch"]))
            self.db.execute("DELETE FROM epochs")
            self.db.executemany("INSERT INTO epochs VALUES (?, ?)", [(str(own["epoch"]), own["first"]) for own in welcome["epochs"]])
            if welcome["reset"]:  # what is held is not of this store: it stays readable until the fills have replaced it
                self.db.execute("UPDATE records SET revision = 0")
                self.db.execute("UPDATE grants SET since = -1")
                # The writes that the store forgot are pending again, under their numbers.
                self.db.execute("UPDATE writes SET verdict = NULL, code = NULL WHERE number > ?", [welcome["taken"]])
            if welcome["grants"]:
                self.grant(welcome["grants"])

    def refuse_copies(self, welcome):
        hashes = [welcome["hashes"][at:at + 16] for at in range(0, len(welcome["hashes"]), 16)]
        for number, theirs in zip(range(welcome["taken"] - len(hashes) + 1, welcome["taken"] + 1), hashes):
            own = self.rows("SELECT bytes FROM writes WHERE number = ? AND verdict IS NULL", number)
            if own and any(theirs) and hash16(own[0][0]) != theirs:
                raise Copied(f"the cloud took another write {number} than this database has")

    def renew(self):
        with self.db:
            self.put("previous", self.get("database"))
            self.put("database", os.urandom(16).hex())
            self.put("session", 0)

    def grant(self, grants):
        self.db.execute("DELETE FROM definitions")
        self.db.executemany("INSERT INTO definitions VALUES (?, ?, ?)", [(own["name"], own["revision"], own["json"]) for own in grants["definitions"]])
        wanted = {(own["collection"], own["partition"]): own for own in grants["grants"]}
        for collection, partition, since in self.rows("SELECT collection, partition, since FROM grants"):
            new = wanted.get((collection, partition))
            if new and new["since"] == since:
                del wanted[collection, partition]
                continue
            self.db.execute("DELETE FROM grants WHERE collection = ? AND partition IS ?", [collection, partition])
            if not new:  # the right is gone, and with it the data
                self.db.execute("DELETE FROM records WHERE collection = ? AND partition IS ?", [collection, partition])
                self.db.execute("DELETE FROM staging WHERE collection = ?", [collection])
        for own in wanted.values():
            self.put("mark", self.get("mark", 0) + 1)
            row = [own["collection"], own["partition"], own["since"], own["from"], b"", self.get("mark")]
            self.db.execute("INSERT INTO grants VALUES (?, ?, ?, ?, ?, 0, ?)", row)

    # -- one batch, together with the cursor

    def apply(self, batch):
        came = 0
        with self.db:
            at, through = self.cursor(), batch["through"]
            if place(batch["from"]) > place(at):
                raise Closed("a batch that does not follow")
            if batch["grants"]:
                self.grant(batch["grants"])
            if through["revision"] > at["revision"]:
                for (record,) in self.rows("SELECT record FROM staging"):
                    self.record(SCHEMA.decode("Record", record))
                self.db.execute("DELETE FROM staging")
            for entry in batch["entries"]:
                record, outcome = entry["record"], entry["outcome"]
                if outcome and outcome["database"] in (b"", bytes.fromhex(self.get("database"))):
                    word = outcome["verdict"].removeprefix("VERDICT_").lower()
                    self.db.execute("UPDATE writes SET verdict = ?, code = ? WHERE number = ? AND verdict IS NULL", [word, outcome["code"], outcome["number"]])
                if not record or self.known(at, record):
                    continue
                came += 1
                if record["revision"] > through["revision"]:  # its revision is not complete
                    self.db.execute("INSERT OR REPLACE INTO staging VALUES (?, ?, ?)", [record["collection"], record["key"], SCHEMA.encode("Record", record)])
                else:
                    self.record(record)
            if batch["fill"]:
                came += self.fill(batch["fill"])
            if place(through) > place(at):
                self.put("cursor", SCHEMA.encode("Position", through))
        return came

    @staticmethod
    def known(at, record):
        inside = {"collection": record["collection"], "key": record["key"]}
        return place({"revision": record["revision"] - 1, "inside": inside}) <= place(at)

    def record(self, record):
        name = [record["collection"], record["key"]]
        held = self.rows("SELECT revision FROM records WHERE collection = ? AND key = ?", *name)
        if held and held[0][0] > record["revision"]:
            return
        if record["value"] is None:  # deleted, or left
            self.db.execute("DELETE FROM records WHERE collection = ? AND key = ?", name)
        else:
            row = name + [record["partition"], record["revision"], record["value"], self.get("mark", 0)]
            self.db.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?, ?, ?, ?)", row)

    def fill(self, part):
        fill = part["fill"]
        share = [fill["collection"], fill["partition"]]
        held = self.rows("SELECT since, at, mark FROM grants WHERE collection = ? AND partition IS ? AND NOT done", *share)
        if not held or held[0][0] != fill["since"] or place(fill["at"]) < place(SCHEMA.decode("Position", held[0][1])):
            return 0
        for record in part["records"]:
            self.record(record)
        if part["done"]:  # what neither the fill nor the stream brought is not there any more
            gone = "DELETE FROM records WHERE collection = ? AND partition IS ? AND revision <= ? AND mark < ?"
            self.db.execute(gone, share + [fill["from"], held[0][2]])
        at = [SCHEMA.encode("Position", fill["at"]), part["done"]]
        self.db.execute("UPDATE grants SET at = ?, done = ? WHERE collection = ? AND partition IS ?", at + share)
        return len(part["records"])

    # -- an application's write: numbered, durable, and never changed

    def commit(self, collection, key, op):
        if self.rows("SELECT 1 FROM definitions WHERE name = ?", collection) == []:
            sys.exit(f"{collection} is not known here: sync first")
        for _, data in self.pending():
            if any((own["collection"], own["key"]) == (collection, key) for own in SCHEMA.decode("Write", data)["ops"]):
                sys.exit("a write on this record is pending: sync first")  # it would stand on that one
        base = self.rows("SELECT revision, value FROM records WHERE collection = ? AND key = ?", collection, key)
        done = not self.rows("SELECT 1 FROM grants WHERE collection = ? AND NOT done", collection)
        seen = 0 if not base else self.cursor()["revision"] if done else base[0][0]
        revision = self.rows("SELECT revision FROM definitions WHERE name = ?", collection)[0][0]
        op = {"collection": collection, "key": key, "seen": seen, "definition": revision, **op(base[0][1] if base else None)}
        with self.db:
            hlc = max(now_ms() << 16, self.get("hlc", 0) + 1)
            self.put("hlc", hlc)
            data = SCHEMA.encode("Write", {"hlc": hlc, "at_ms": now_ms(), "actor": "client.py", "ops": [op]})
            number = self.newest() + 1
            self.db.execute("INSERT INTO writes (number, bytes) VALUES (?, ?)", [number, data])
        print(f"write {number} is in the outbox")


class Copied(Exception):
    """This database is a copy of another one."""


def text(value):
    """JSON without white space, as values are compared and hashed."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def put(new):
    def op(base):
        if base is None:
            return {"put": text(new)}
        old, changes = json.loads(base), []
        for field in sorted(old.keys() | new.keys()):
            if field in old and field in new and old[field] == new[field]:
                continue  # written back unchanged: no claim
            was = text(old[field]) if field in old else None
            change = {"field": field, **({"set": text(new[field])} if field in new else {"remove": True})}
            if was is not None:
                change |= {"value": was} if len(was) <= 1024 else {"hash": hash16(was.encode())}
            changes.append(change)
        return {"merge": {"changes": changes}}
    return op


# ---- one session

class Session:
    def __init__(self, store, link):
        self.store, self.link, self.sent, self.taken = store, link, [], 0

    def say(self, name, body):
        self.link.send(SCHEMA.encode("Frame", {name: body}))

    def hear(self, seconds):
        data = self.link.receive(seconds)
        if data is None:
            return None, None
        frame = SCHEMA.decode("Frame", data)
        name = next((name for name, body in frame.items() if body is not None), None)
        if name == "close":
            if frame[name]["code"] == "copied_database":
                raise Copied(frame[name]["detail"])
            raise Closed(f"{frame[name]['code']}: {frame[name]['detail']}")
        return name, frame[name] if name else None

    def run(self):
        """Until both sides have everything."""
        self.say("hello", self.store.hello())
        name, body = self.hear(5)
        if name == "refuse":
            if body["renew"]:
                raise Copied(body["detail"])
            raise Closed(f"refused, {body['code']}: {body['detail']}")
        if name != "welcome":
            raise Closed(f"{name} where welcome was due")
        began = self.store.cursor()
        self.store.adopt(body)  # durable before a word is said
        self.taken, ping_s, silence_s = body["taken"], max(body["ping_ms"], 1000) / 1000, max(body["silence_ms"], 1000) / 1000
        print(f"session {body['session']}, from {'nothing' if began is None else began['revision']} to {body['head']}")
        self.say("started", {"session": body["session"]})
        self.say("ack", self.store.ack())
        came, head, ping_due = 0, False, time.monotonic()
        while not (head and not self.store.fills() and not self.store.pending()):
            self.hand_over()
            if time.monotonic() >= ping_due:
                self.say("ping", {"sent_ms": now_ms()})
                ping_due = time.monotonic() + ping_s
            if time.monotonic() > self.link.heard + silence_s:
                self.say("close", {"code": "silence", "detail": "not a byte from the hub"})
                raise Closed("silence")
            name, body = self.hear(1)
            if name == "batch":
                came += self.store.apply(body)
                head = body["at_head"]
                self.say("ack", self.store.ack())
            elif name == "taken":
                self.taken = max(self.taken, body["number"])
                self.sent = [(number, size) for number, size in self.sent if number > self.taken]
            elif name not in (None, "pong", "received"):
                self.say("close", {"code": "unexpected", "detail": name or "a frame of no kind that is known here"})
                raise Closed(f"unexpected {name}")
        print(f"in sync at {self.store.cursor()['revision']}, {came} records came")

    def hand_over(self):
        """Pending writes in their order, as far as the window goes."""
        frame, size = [], 0
        for number, data in self.store.pending(max([self.taken] + [number for number, _ in self.sent])):
            full = self.sent and sum(size for _, size in self.sent) + len(data) + 16 > WINDOW
            if full or (frame and size + len(data) > FRAME):
                break
            frame.append({"number": number, "write": data})
            self.sent.append((number, len(data) + 16))
            size += len(data)
        if frame:
            self.say("writes", {"writes": frame})


def sync(data):
    store, servers, wait = Store(data), json.loads((data / "servers.json").read_text()), 0.5
    host, port = servers["websocket"][0].rsplit(":", 1)
    while True:
        try:
            link = Link(host.strip("[]"), int(port), data / "ca.pem", data / "certificate.pem", data / "key.pem")
            try:
                return Session(store, link).run()
            finally:
                link.close()
        except Copied as error:
            print(f"this is a copy, and takes an id of its own: {error}")
            store.renew()
        except (Closed, OSError) as error:
            print(f"not in sync: {error}")
            time.sleep(random.uniform(0.5, wait))
            wait = min(wait * 2, 30)


# ---- becoming a node

def join(data, server, token, node):
    data.mkdir(parents=True, exist_ok=True)
    text = "".join(token.split())
    body = base64.urlsafe_b64decode(text.removeprefix("tbl1_"))
    if not text.startswith("tbl1_") or len(body) != 60 or hashlib.sha256(body[:56]).digest()[:4] != body[56:]:
        sys.exit("that is no join token")
    pin, secret = body[:32], base64.urlsafe_b64encode(body[32:48]).decode().rstrip("=")
    # The hub sends its CA with its certificate. The one that the token names is trusted, and no other.
    shown = subprocess.run(["openssl", "s_client", "-connect", server, "-tls1_3", "-showcerts"], input=b"", capture_output=True).stdout.decode()
    chain = ["-----BEGIN CERTIFICATE-----" + part.split("-----END")[0] + "-----END CERTIFICATE-----\n" for part in shown.split("-----BEGIN CERTIFICATE-----")[1:]]
    ca = next((pem for pem in chain if hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest() == pin), None)
    if ca is None:
        sys.exit("what answers there is not the hub that made the token")
    key, curve = data / "key.pem", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    request = subprocess.run(["openssl", "req", "-new", *curve, "-nodes", "-keyout", key, "-subj", "/CN=client"], capture_output=True, check=True)
    key.chmod(0o600)
    asked = {"secret": secret, "csr": request.stdout.decode(), "version": "docs/examples/client", **({"node": node} if node else {})}
    post = urllib.request.Request(f"https://{server}/v1/join", json.dumps(asked).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(post, context=ssl.create_default_context(cadata=ca)) as answer:
            told = json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(f"the hub says {error.code}: {error.read().decode()}")
    (data / "certificate.pem").write_text(told["certificate"])
    (data / "ca.pem").write_text(told["ca"])
    (data / "servers.json").write_text(json.dumps(told["servers"]))
    print(f"joined as {told['node']}")


def show(data):
    store = Store(data)
    for collection, key, value, revision in store.rows("SELECT collection, key, value, revision FROM records ORDER BY collection, key"):
        print(f"{collection}/{key} = {value} at {revision}")
    for number, verdict, code in store.rows("SELECT number, verdict, code FROM writes ORDER BY number"):
        print(f"write {number} {verdict or 'pending'} {code or ''}".rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["join", "put", "add", "sync", "show"])
    parser.add_argument("rest", nargs="*")
    parser.add_argument("--data", type=pathlib.Path, required=True)
    for name in ("--server", "--token", "--node"):
        parser.add_argument(name)
    args = parser.parse_intermixed_args()
    if args.verb == "join":
        return join(args.data, args.server, args.token, args.node)
    if args.verb in ("sync", "show"):
        return sync(args.data) if args.verb == "sync" else show(args.data)
    (collection, key), rest = args.rest[0].split("/", 1), args.rest[1:]
    if args.verb == "put":
        return Store(args.data).commit(collection, key, put(json.loads(rest[0])))
    field, delta = rest
    Store(args.data).commit(collection, key, lambda _: {"increment": {"by": [{"field": field, "delta": int(delta)}]}})


if __name__ == "__main__":
    main()
