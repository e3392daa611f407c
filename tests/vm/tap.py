# SPDX-License-Identifier: LGPL-2.1-or-later
"""Results as the Test Anything Protocol: each line goes out as soon as it is known."""


class Tap:
    def __init__(self):
        self.count = 0
        self.failed = 0

    def result(self, good, what, directive=""):
        self.count += 1
        self.failed += 0 if good else 1
        self._print(f"{'ok' if good else 'not ok'} {self.count} - {what}{directive}")

    def skip(self, what, why):
        self.result(True, what, f" # SKIP {why}")

    def diag(self, text):
        for line in text.splitlines():
            self._print(f"# {line}")

    def plan(self):
        """Ends the output; returns the exit status."""
        self._print(f"1..{self.count}")
        return 1 if self.failed else 0

    @staticmethod
    def skip_all(why):
        Tap._print(f"1..0 # SKIP {why}")
        return 0

    @staticmethod
    def _print(line):
        print(line.encode("ascii", "backslashreplace").decode(), flush=True)
