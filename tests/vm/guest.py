# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a guest under QEMU and turns what it says on its second serial line into results."""

import os
import select
import signal
import socket
import subprocess
import time

from qmp import Qmp

SILENCE_S = 200 # longest time between two lines of a guest that is well
KVM_TRIAL_S = 10  # a kernel that KVM can run says hello long before


class Died(Exception):
    """The guest ended, or fell silent, before it said `end`."""


class Guest:
    def __init__(self, qemu, kernel, initramfs, workdir, devices=(), memory="1G", append=""):
        self.append = append  # more words for the kernel
        self.command = [qemu, "-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
                        "-smp", "2", "-m", memory, "-kernel", kernel, "-initrd", initramfs, *devices]
        self.initramfs = initramfs
        self.console = os.path.join(workdir, "console.log")
        self.errors = os.path.join(workdir, "qemu.log")
        self.accel = None
        self.emulated = "max"
        self.may_kvm = os.access("/dev/kvm", os.R_OK | os.W_OK)
        self.process = None
        self.monitor = None
        self.pending = b""

    def count_instructions(self):
        """Before its start: one CPU, whose clock goes by what it executes, 1 ns each. It has no fast
        `rep movsb`, of which each byte counts as an instruction."""
        self.command[self.command.index("-smp") + 1] = "1"
        self.command += ["-icount", "shift=0,sleep=off"]
        self.emulated = "max,-erms,-fsrm"
        self.may_kvm = False

    def start(self, tap):
        """Boots with KVM where that gets as far as the first line, else in software."""
        if self.may_kvm:
            self._spawn("kvm", "host")
            try:
                self._expect_hello(KVM_TRIAL_S)
                return
            except Died as why:
                tap.diag(f"KVM does not run this kernel ({why}): emulating in software")
                self.stop()
        self._spawn("tcg", self.emulated)
        self._expect_hello(SILENCE_S)

    def restore(self, path, accel):
        """Goes on where Qmp.save() stopped a guest of the same kind; each as often as one likes."""
        self._spawn(accel, "host" if accel == "kvm" else self.emulated, f"exec:cat '{path}'")
        self.qmp().resume(SILENCE_S)

    def _spawn(self, accel, cpu, incoming=None):
        self.accel = accel
        self.pending = b""
        machine = f"q35,accel={accel}" + (",memory-backend=mem"
                                          if any("id=mem," in arg for arg in self.command) else "")
        self.monitor, control = socket.socketpair()
        command = [*self.command, "-machine", machine, "-cpu", cpu,
                   "-append", f"console=ttyS0 panic=-1 quiet mitigations=off accel={accel} "
                   + self.append,
                   "-serial", f"file:{self.console}", "-serial", "stdio",
                   "-chardev", f"socket,id=monitor,fd={control.fileno()}",
                   "-mon", "chardev=monitor,mode=control"]
        if incoming:
            command += ["-incoming", incoming]
        with open(self.errors, "wb") as errors, control:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                pass_fds=[control.fileno()])

    def wait_end(self, qmp, seconds):
        """How the guest ended the machine: "guest-shutdown", "guest-reset", or what went wrong."""
        try:
            reason = qmp.wait_shutdown(seconds)
            self.process.wait(seconds)
            return reason
        except (OSError, subprocess.TimeoutExpired):
            return f"no end in {seconds} s"

    def qmp(self):
        """Once for each guest."""
        return Qmp(self.monitor)

    def _expect_hello(self, seconds):
        line = self._read_line(seconds)
        if line != "hello":
            raise Died(f"its first line is {line!r}")

    def _read_line(self, seconds):
        deadline = time.monotonic() + seconds
        while b"\n" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise Died(f"nothing said for {seconds} s")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise Died(f"{self.process.args[0]} ended with status {self.process.wait()}")
            self.pending += data
        line, self.pending = self.pending.split(b"\n", 1)
        return line.decode(errors="backslashreplace").strip()

    def run(self, tap, answer=None):
        """
        Hears the guest out. Its words: `ok WHAT`, `not ok WHAT`, `skip WHAT # WHY`, `# TEXT`,
        `ask WORD...` (answered with the line that answer(WORD...) returns; None: the guest is heard
        no further) and `end`.
        """
        last = "hello"
        try:
            while (line := self._read_line(SILENCE_S)) != "end":
                word, _, rest = line.partition(" ")
                if word == "ok":
                    tap.result(True, rest)
                elif line.startswith("not ok "):
                    tap.result(False, line[len("not ok "):])
                elif word == "skip":
                    tap.skip(*rest.split(" # ", 1))
                elif word == "#":
                    tap.diag(rest)
                elif word == "ask" and answer:
                    told = answer(*rest.split())
                    if told is None:
                        return
                    self.tell(told)
                elif line:
                    raise Died(f"it says {line!r}")
                last = line or last
        except Died as why:
            tap.result(False, "the guest runs to its end")
            tap.diag(f"{why}; before that: {last}")
            self.show_logs(tap)

    def hear(self):
        return self._read_line(SILENCE_S)

    def tell(self, line):
        self.process.stdin.write(f"{line}\n".encode())
        self.process.stdin.flush()

    def show_logs(self, tap):
        for path in (self.errors, self.console):
            with open(path, "rb") as file:
                text = file.read()[-12000:].decode(errors="replace")
            tap.diag(f"end of {path}:\n{text}")

    def stop(self):
        if not self.process:
            return
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.monitor.close()
        self.process.stdin.close()
        self.process.stdout.close()
        self.process = None


class CommandGuest(Guest):
    """What a command of the user's has to say, which runs a script in a guest."""

    def __init__(self, command):
        self.pending = b""
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def show_logs(self, tap):
        """The command has shown what there is."""

    def stop(self):
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.terminate()
            self.process.wait()
        self.process.stdout.close()
