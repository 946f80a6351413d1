"""The command that starts an engine on a host: OpenSSH with the user's own configuration, keys and agent.

No shell of this computer sees the host's name, nothing is asked, and no host key is accepted here.
"""

import re

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
#: Installs the engine there, typed once in a shell of that computer.
INSTALL_LINE = (
    "python3 -m venv ~/.sam2adapt/engine && . ~/.sam2adapt/engine/bin/activate"
    " && pip install torch torchvision setuptools wheel"
    " && SAM2_BUILD_CUDA=0 pip install --no-deps --no-build-isolation sam2==1.1.0"
    " && pip install https://github.com/SAM2Adapt/SlicerSAM2Adapt/archive/refs/heads/main.zip"
)
_HOST = re.compile(r"(?:ssh://)?(?:(?P<user>[\w.][\w.+-]*)@)?(?P<host>[\w.:%\[\]][\w.:%\[\]-]*)", re.ASCII)


def command(host):
    """The program and arguments that start the engine of a host.

    :param host: ``host`` or ``user@host``, with names of ssh's configuration, or ``ssh://user@host:port``.
    :return: list of str.
    :raises RemoteError: this is no name of a host.
    """
    requireHost(host)
    options = [word for name, value in OPTIONS.items() for word in ("-o", f"{name}={value}")]
    return ["ssh", "-T", "-x", "-a", *options, "--", host, REMOTE_COMMAND]


def requireHost(host):
    """Refuse what ssh could take for an option, and what is no name of a host.

    :raises RemoteError: in this case.
    """
    if not host:
        raise RemoteError("No host is named.", "Write it as user@host.", setting="engine_on")
    if not _HOST.fullmatch(host):
        raise RemoteError(f"'{host}' is not the name of a host.", "Write it as user@host.", setting="engine_on")
