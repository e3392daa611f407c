# SPDX-License-Identifier: LGPL-2.1-or-later
"""Certificate authorities and certificates of a test's own, by openssl(1)."""

import os
import subprocess

EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def openssl(*words, cwd):
    done = subprocess.run(["openssl", *words], cwd=cwd, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout.decode(errors="replace")


class Certificates:
    """Files NAME.pem and NAME.key below a directory."""

    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)

    def __getitem__(self, name):
        return os.path.join(self.directory, name)

    def authority(self, name):
        openssl("req", "-x509", *EC, "-days", "2", "-subj", f"/CN={name}",
                "-keyout", f"{name}.key", "-out", f"{name}.pem", cwd=self.directory)

    def issue(self, name, authority, san=None, days=1):
        """Valid until so many days from now."""
        openssl("req", "-new", *EC, "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                "-out", f"{name}.csr", cwd=self.directory)
        extensions = self[f"{name}.ext"]
        with open(extensions, "w") as f:
            f.write("basicConstraints=CA:FALSE\n" + (f"subjectAltName={san}\n" if san else ""))
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.pem",
                "-CAkey", f"{authority}.key", "-CAcreateserial", "-days", str(days),
                "-extfile", extensions, "-out", f"{name}.pem", cwd=self.directory)
