# SPDX-License-Identifier: LGPL-2.1-or-later
"""QEMU's machine protocol, as far as pausing, saving and ending a guest needs it."""

import json
import time


class Qmp:
    def __init__(self, sock):
        self.sock = sock
        self.file = sock.makefile("rw")
        self.file.readline()  # the greeting
        self.execute("qmp_capabilities")

    def execute(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while line := self.file.readline():
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"{command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]
        raise RuntimeError(f"{command}: QEMU has gone")

    def wait_shutdown(self, seconds):
        """The reason that QEMU gives when the machine ends."""
        self.sock.settimeout(seconds)
        while line := self.file.readline():
            event = json.loads(line)
            if event.get("event") == "SHUTDOWN":
                return event["data"]["reason"]
        raise OSError("QEMU has gone")

    def save(self, path, seconds):
        """Stops the guest for good and writes all of it into a file."""
        self.execute("stop")
        self.execute("migrate", uri=f"exec:cat >'{path}'")
        deadline = time.monotonic() + seconds
        while (status := self.execute("query-migrate")).get("status") != "completed":
            if status.get("status") in ("failed", "cancelled") or time.monotonic() > deadline:
                raise RuntimeError(f"the guest is not saved: {status}")
            time.sleep(0.1)

    def resume(self, seconds):
        """Lets a guest go on that save() stopped, once it has been read."""
        deadline = time.monotonic() + seconds
        while self.execute("query-status")["status"] == "inmigrate":
            if time.monotonic() > deadline:
                raise RuntimeError("the guest is not restored")
            time.sleep(0.1)
        self.execute("cont")
