"""What pip wrote when it failed, as a sentence that says what is wrong and one that says what to do."""

import re
import sys

from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError

# The end of pip's output: enough for a report, and not a log of megabytes.
DETAILS_LINES = 100


def pipError(lines, wheelFolder=None):
    """Say why pip failed.

    :param lines: list of the lines it wrote.
    :param wheelFolder: folder of wheels that it was to use instead of the network, or None.
    :return: ``EngineError`` of kind "InstallError"; its details are the end of the output.
    """
    text = "\n".join(lines)
    message, remedy = (
        _diskProblem(text)
        or _constraintProblem(text)
        or (_folderProblem(text, wheelFolder) if wheelFolder else _networkProblem(text))
        or _otherProblem(lines)
    )
    return EngineError("InstallError", message, remedy, "\n".join(lines[-DETAILS_LINES:]))


def _diskProblem(text):
    if re.search(r"No space left on device|Errno 28|WinError 112", text):
        return _("The disk is full."), _("Free some space, then install the engine: what was downloaded is kept.")
    if re.search(r"WinError 206|[Ff]ile ?name or extension is too long|File name too long", text):
        return (
            _("A path is too long for this computer."),
            _("Install Slicer in a folder with a shorter path, such as C:\\Slicer, and install the engine there."),
        )
    if re.search(r"WinError 5\b|WinError 32\b", text):
        return (
            _("A file of a package is in use."),
            _("Close all other windows of Slicer, start it again, and install the engine before anything else."),
        )
    if re.search(r"Permission denied|Errno 13|Read-only file system", text):
        return (
            _("The folder of Slicer's Python packages cannot be written."),
            _("Start Slicer as somebody who may write there, or install a Slicer of your own in your home folder."),
        )
    return None


def _constraintProblem(text):
    if "ResolutionImpossible" not in text and "conflicting dependencies" not in text:
        return None
    causes = re.findall(r"^\s+(\S.* depends on .*|The user requested \(constraint\).*)$", text, re.MULTILINE)
    return (
        _("The packages do not go together with those of this Slicer ({causes}).").format(causes="; ".join(causes[:4])),
        _("Use the newest Slicer. Nothing was changed: Slicer's own packages are never replaced."),
    )


def _folderProblem(text, wheelFolder):
    missing = re.search(r"No matching distribution found for (\S+)", text)
    if not missing:
        return None
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        _("“{folder}” holds no usable file of “{package}” for Python {python} on this computer.").format(
            folder=wheelFolder, package=missing[1], python=python
        ),
        _("Add it to the folder: the list of what to fetch says how."),
    )


def _networkProblem(text):
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return (
            _("The server's certificate is not trusted here; networks that inspect traffic cause this."),
            _(
                "Set the environment variable PIP_CERT to the certificate of your institution's network, or install"
                " from a folder that was filled on another computer."
            ),
        )
    if re.search(
        r"NewConnectionError|Failed to establish|ProxyError|ReadTimeout|ConnectTimeout|ConnectionReset|Max retries|"
        r"IncompleteRead|ProtocolError|name resolution|getaddrinfo",
        text,
    ):
        return (
            _("The package server could not be reached, or the connection broke."),
            _(
                "Check the network and the proxy (environment variable HTTPS_PROXY), then install the engine: what was"
                " downloaded is kept. Without internet, install from a folder that was filled on another computer."
            ),
        )
    if missing := re.search(r"No matching distribution found for (\S+)", text):
        return (
            _("The package server has no “{package}” for this Slicer.").format(package=missing[1]),
            _("Use the newest Slicer, or look at the details: the server may not be the one that you mean."),
        )
    return None


def _otherProblem(lines):
    # Where pip itself failed, the last line of its traceback says more.
    errors = [line for line in lines if line.startswith(("ERROR:", "error:")) and line != "ERROR: Exception:"]
    last = (errors or lines or [_("it wrote nothing")])[-1].removeprefix("ERROR: ")
    return (
        _("Python packages could not be installed: {reason}").format(reason=last),
        _("Install the engine again; if that does not help, report it together with the details."),
    )
