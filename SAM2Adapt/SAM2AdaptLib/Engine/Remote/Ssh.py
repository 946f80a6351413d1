"""The command that starts an engine on a host: OpenSSH with the user's own configuration, keys and agent.

No shell of this computer sees the host's name, nothing is asked, and no host key is accepted here.
"""

import os
import re

from sam2adapt.shared import protocol
from sam2adapt.shared.errors import RemoteError

#: What is safe whatever the user's own configuration says; a setting on the command line has precedence over it.
OPTIONS = {
    "BatchMode": "yes",  # asks for no password or passphrase
    "StrictHostKeyChecking": "yes",  # a host that is not known is refused, even if the configuration says otherwise
    "UpdateHostKeys": "no",
    "ConnectTimeout": "15",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "4",
    "ClearAllForwardings": "yes",
    "PermitLocalCommand": "no",
    "EscapeChar": "none",
}
#: What runs there. sh gets it in quotes, so that all shells of users pass it on unchanged; nothing in it is variable.
REMOTE_COMMAND = (
    "exec sh -c 'PATH=\"$HOME/.sam2adapt/engine/bin:$HOME/.local/bin:$PATH\" exec sam2adapt serve --stream'"
)
#: The engine's package in the user's home there, which this computer sends (``Wheel.py``).
_WHEEL = f".sam2adapt/sam2adapt-{protocol.VERSION}-py3-none-any.whl"
_PIP = "~/.sam2adapt/engine/bin/pip install"
#: Installs the engine there, typed once in a shell of that computer, whichever it is.
INSTALL_LINE = (
    f"python3 -m venv ~/.sam2adapt/engine && {_PIP} ~/{_WHEEL} torch torchvision setuptools wheel"
    f" && env SAM2_BUILD_CUDA=0 {_PIP} --no-deps --no-build-isolation sam2==1.1.0"
)
_HOST = re.compile(r"(?:ssh://)?(?:(?P<user>[\w.][\w.+-]*)@)?(?P<host>[\w.:%\[\]][\w.:%\[\]-]*)", re.ASCII)


def command(host, remoteCommand=REMOTE_COMMAND):
    """The program and arguments that start the engine of a host, or run another command there.

    :param host: ``host`` or ``user@host``, with names of ssh's configuration, or ``ssh://user@host:port``.
    :param remoteCommand: nothing of it comes from a user or a file.
    :return: list of str.
    :raises RemoteError: this is no name of a host.
    """
    requireHost(host)
    options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-T", "-x", "-a", *options, "--", host, remoteCommand]


def keepWheel(size):
    """The command that keeps there, readable for the user alone, the package that comes on its standard input.

    :param size: bytes of the package; of one that did not arrive whole nothing stays.
    """
    return (
        f'exec sh -c \'umask 077; part="$HOME/{_WHEEL}.part"; mkdir -p "$HOME/.sam2adapt" && cat >"$part"'
        f' && test $(wc -c <"$part") -eq {size:d} && exec mv "$part" "$HOME/{_WHEEL}"; rm -f "$part"; exit 1\''
    )


def environment(variables):
    """The environment of ssh: it speaks English, which ``Diagnosis`` reads.

    :param variables: dict, or None for the one of this process.
    """
    return {**(os.environ if variables is None else variables), "LC_ALL": "C", "LANGUAGE": "C"}


def requireHost(host):
    """Refuse what ssh could take for an option, and what is no name of a host.

    :raises RemoteError: in this case.
    """
    if not host:
        raise RemoteError("No host is named.", "Write it as user@host.", setting="engine_on")
    if not _HOST.fullmatch(host):
        raise RemoteError(f"'{host}' is not the name of a host.", "Write it as user@host.", setting="engine_on")
