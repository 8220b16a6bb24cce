#!/usr/bin/env python3
"""A thermostat that is only simulated: a mapper, which is what stands between a device and Tombolo's twin of it.

It follows what is desired of it (`target`), and reports what it does (`temp`, `heating`, `target`). It keeps nothing on disk: its twin
is its memory, so that it can be ended and started again at any time. See README.md.
"""

import argparse
import json
import random
import signal
import sys
import threading

import paho.mqtt.client as mqtt

ASK_AGAIN = 5  # seconds: edgehub may come later than we do


class Thermostat:
    def __init__(self, device):
        self.topic = f"$hw/events/device/{device}/"
        # Both are not known before the twin has come.
        self.target = None
        self.temp = None
        self.heating = False
        self.lock = threading.Lock()  # the client calls us from its own thread

    # What the broker brings.

    def connected(self, client, _userdata, _flags, reason, _properties):
        """Also after the broker was away: subscriptions are asked for again, and what changed meanwhile is in the twin."""
        if reason.is_failure:
            return say(f"the broker refused: {reason}")
        say("at the broker")
        client.subscribe([(self.topic + end, 1) for end in ("twin/get/result", "twin/update/delta", "twin/update/result")])
        self.send(client, "state/update", {"state": "online"})
        self.ask(client)

    def disconnected(self, _client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            say(f"the broker went away ({reason}); it is tried again")

    def heard(self, client, _userdata, message):
        said = json.loads(message.payload)
        if message.topic.endswith("twin/update/delta"):
            # What is desired and not done yet. Values are text, whatever their type.
            self.aim(client, said["delta"].get("target"))
        elif said.get("code"):
            say(f"refused: {said['code']} {said['reason']}")
        elif message.topic.endswith("twin/get/result"):
            twin = said["twin"]
            if self.temp is None:
                last = twin["temp"].get("actual", {}).get("value")
                self.temp = 15.0 if last is None else float(last)
                say("it is new" if last is None else f"it was {self.temp} °C last")
            self.aim(client, twin["target"].get("expected", {}).get("value"))

    def aim(self, client, target):
        if target is None:
            return
        with self.lock:
            changed, self.target = self.target != float(target), float(target)
        if changed:
            say(f"{self.target} °C are wanted")
        # Also when it is no news: a delta says that the twin does not know yet.
        self.report(client, target=self.target)

    # What it says itself.

    def send(self, client, end, payload):
        client.publish(self.topic + end, json.dumps({"event_id": "", **payload}), qos=1)

    def ask(self, client):
        self.send(client, "twin/get", {})

    def report(self, client, **values):
        twin = {name: {"actual": {"value": json.dumps(value)}} for name, value in values.items()}
        self.send(client, "twin/update", {"twin": twin})

    # What it does.

    def step(self):
        """One second in the room; at 0.1 K of hysteresis, 0.3 K a second, and a draught."""
        with self.lock:
            if self.temp < self.target - 0.1:
                self.heating = True
            elif self.temp > self.target + 0.1:
                self.heating = False
            self.temp = round(self.temp + (0.3 if self.heating else -0.1) + random.uniform(-0.02, 0.02), 2)
            return {"temp": self.temp, "heating": self.heating}

    def run(self, client, every, stop):
        waited = 0
        while not stop.wait(every):
            if not client.is_connected():
                continue
            if self.target is None or self.temp is None:
                waited += every
                if waited >= ASK_AGAIN:
                    waited = 0
                    self.ask(client)
                continue
            self.report(client, **self.step())


def say(text):
    print(text, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description="A simulated thermostat that speaks at an MQTT broker.")
    parser.add_argument("--broker", default="127.0.0.1:1883", metavar="HOST[:PORT]", help="edgehub's broker")
    parser.add_argument("--device", default="cellar", metavar="ID", help="which device it plays")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="how often it reports")
    options = parser.parse_args()
    host, _, port = options.broker.partition(":")

    thermostat = Thermostat(options.device)
    # The broker keeps the session: what is desired while this program is not there waits for it.
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"thermostat-{options.device}", clean_session=False)
    client.on_connect, client.on_disconnect, client.on_message = thermostat.connected, thermostat.disconnected, thermostat.heard
    # What the broker says for us when we cannot any more.
    client.will_set(thermostat.topic + "state/update", json.dumps({"event_id": "", "state": "offline"}), qos=1)
    client.reconnect_delay_set(1, 5)

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    client.connect_async(host, int(port or 1883), keepalive=15)
    client.loop_start()
    thermostat.run(client, options.every, stop)
    if client.is_connected():
        gone = client.publish(thermostat.topic + "state/update", json.dumps({"event_id": "", "state": "offline"}), qos=1)
        gone.wait_for_publish(2)
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
