"""Jobs that hand nodes of the scene to the engine as files, and end when one of these nodes or the scene goes."""

import time

import slicer
import vtk
from sam2adapt.shared.errors import SettingsError
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Job import Job, stopped
from SAM2AdaptLib.Engine.PrivateFolder import PrivateFolder

WAITING = "waiting"


class NodeWatch:
    """Tells when nodes leave the scene, or when the scene is closed.

    :ivar nodeIds: set of the IDs of the nodes that are still there.
    """

    def __init__(self, nodes, onRemoved, onSceneClosing):
        """
        :param nodes: nodes of the scene; None among them counts for nothing.
        :param onRemoved: called with each of the nodes before it is removed.
        :param onSceneClosing: called without arguments.
        """
        self.nodeIds = {node.GetID() for node in nodes if node}
        self._onRemoved = onRemoved
        scene = slicer.mrmlScene
        self._tags = [
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved),
            scene.AddObserver(scene.StartCloseEvent, lambda caller, event: onSceneClosing()),
        ]

    def stop(self):
        """Stop watching; may be called again."""
        for tag in self._tags:
            slicer.mrmlScene.RemoveObserver(tag)
        self._tags = []

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAboutToBeRemoved(self, caller, event, node):
        if node.GetID() in self.nodeIds:
            self.nodeIds.remove(node.GetID())
            self._onRemoved(node)


class SceneJob(Job):
    """Base of a job on nodes. A subclass has ``_send()``, which writes files to ``_folder`` and asks the engine.

    :ivar state: "waiting" before the engine works on it, then as of ``Job``.
    :ivar seconds: how long the parts of the job took; "total" at its end.
    """

    def __init__(self, **callbacks):
        super().__init__(**callbacks)
        self.state = WAITING
        self.seconds = {}
        self._folder = self._watch = None

    def begin(self, nodes):
        """Send what the engine gets first.

        :param nodes: the job is cancelled when one of them leaves the scene; None among them counts for nothing.
        """
        self._began = time.perf_counter()
        self._folder = PrivateFolder()
        try:
            self._send()
        except Exception:
            self._release()
            raise
        self._watch = NodeWatch(nodes, self._onNodeRemoved, self._onSceneClosing)

    def _send(self):
        raise NotImplementedError

    def _onNodeRemoved(self, node):
        message = _("'{name}' was removed while it was in use.").format(name=node.GetName())
        self._stop(stopped(message, _("Nothing was changed.")))

    def _onSceneClosing(self):
        self._stop(stopped(_("The scene was closed."), _("Nothing was changed.")))

    def _end(self, state, error=None):
        self.seconds["total"] = time.perf_counter() - self._began
        super()._end(state, error)

    def _release(self):
        if self._watch:
            self._watch.stop()
        self._folder.close()


def requireInScene(*nodes):
    """Refuse nodes that are not in the scene; None passes.

    :raises SettingsError: in this case.
    """
    for node in nodes:
        if node and node.GetScene() is not slicer.mrmlScene:
            message = _("'{name}' is not in the scene.").format(name=node.GetName())
            raise SettingsError(message, _("Choose one that is there."))
