"""What pyproject.toml cannot say: a .pth file beside the package, in wheels of both kinds.

Everything else about the package is in pyproject.toml.
"""

import base64
import hashlib
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.editable_wheel import editable_wheel

STARTUP_FILE = "_mrcnn_imgaug.pth"
# Python runs this line whenever it starts. It stays behind when an editable checkout is deleted.
STARTUP_LINE = r'import sys; exec("try: import _mrcnn_imgaug\nexcept ImportError: pass")' + "\n"


class BuildWithStartupFile(build_py):
    """Puts the .pth file beside the packages, from where it goes into the wheel."""

    def run(self):
        super().run()
        if not self.editable_mode:
            Path(self.build_lib, STARTUP_FILE).write_text(STARTUP_LINE)

    def get_outputs(self, include_bytecode=True):
        own = [] if self.editable_mode else [str(Path(self.build_lib, STARTUP_FILE))]
        return [*super().get_outputs(include_bytecode), *own]


class EditableWithStartupFile(editable_wheel):
    """An editable wheel holds links to the packages, and none of what is built beside them."""

    def run(self):
        super().run()
        for wheel in Path(self.dist_dir).glob("mrcnn-*.whl"):
            add_to_wheel(wheel, STARTUP_FILE, STARTUP_LINE.encode())


def add_to_wheel(wheel, name, content):
    """Add a file to a wheel, and to its RECORD, by which it is uninstalled again."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    with zipfile.ZipFile(wheel) as file:
        entries = [(info, file.read(info)) for info in file.infolist()]
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as file:
        for info, data in entries:
            if info.filename.endswith(".dist-info/RECORD"):
                data = f"{name},sha256={digest},{len(content)}\n".encode() + data
            file.writestr(info, data)
        file.writestr(name, content)


if __name__ == "__main__":
    setup(cmdclass={"build_py": BuildWithStartupFile, "editable_wheel": EditableWithStartupFile})
