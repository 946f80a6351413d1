"""Controls of the effect: what a click is, what it means, how far it is carried, what else shows it, and messages."""

import qt
import slicer
from sam2adapt.shared.protocol import BOX, POINT, SCRIBBLE
from slicer.i18n import tr as _

from SAM2AdaptLib.Correcting.SceneGestures import NODE_TYPES, Shown
from SAM2AdaptLib.Panels import Widgets

MOST_CARRIED = 20  # slices


class Options:
    """Widgets of the effect.

    :ivar kindButtons: buttons by kind of gesture; ``addButton``, ``removeButton``, ``carrySpinBox``, ``nodeSelector``,
        ``segmentComboBox``, ``applyButton``, ``forgetButton``, ``messageLabel``: the other widgets.
    """

    def __init__(self, effect, onApply, onForget):
        """
        :param effect: Slicer's ``qSlicerSegmentEditorScriptedEffect``, whose options frame gets the widgets.
        :param onApply: called when the user applies chosen markups or a chosen segment.
        :param onForget: called when the user takes the last click back.
        """
        self._effect = effect
        texts = {
            POINT: (_("Point"), _("Click into the structure, or into what is not part of it (P).")),
            SCRIBBLE: (_("Scribble"), _("Draw a line through it (S).")),
            BOX: (_("Box"), _("Drag a box around the structure, or around what is not part of it (B).")),
        }
        self.kindButtons = {kind: _choice(text, tip) for kind, (text, tip) in texts.items()}
        effect.addLabeledOptionsWidget(_("Tool:"), _row(self.kindButtons.values()))
        self.addButton = _choice(_("Belongs to it"), _("What you show belongs to the chosen segment (T changes this)."))
        self.removeButton = _choice(
            _("Does not"), _("What you show is no part of the chosen segment (T, or hold Ctrl).")
        )
        effect.addLabeledOptionsWidget(_("Meaning:"), _row([self.addButton, self.removeButton]))

        self.carrySpinBox = qt.QSpinBox()
        self.carrySpinBox.objectName = "CorrectCarrySpinBox"
        self.carrySpinBox.maximum = MOST_CARRIED
        self.carrySpinBox.toolTip = _(
            "To how many slices on either side a correction is carried, while they look alike."
        )
        effect.addLabeledOptionsWidget(_("Neighbouring slices:"), self.carrySpinBox)

        self._makeNodeRow(onApply)

        self.forgetButton = qt.QPushButton(_("Take the last click back"))
        self.forgetButton.toolTip = _("Remove what the last click changed (Del).")
        self.forgetButton.connect("clicked()", onForget)
        effect.addOptionsWidget(self.forgetButton)

        self.messageLabel = qt.QLabel()
        self.messageLabel.wordWrap = True
        self.messageLabel.objectName = "CorrectMessageLabel"
        effect.addOptionsWidget(self.messageLabel)
        self.kind = POINT
        self.isPositive = True
        self.allowForget(False)
        self.say("")

    def _makeNodeRow(self, onApply):
        self.nodeSelector = _nodeSelector()
        self.segmentComboBox = qt.QComboBox()
        self.segmentComboBox.toolTip = _("Segment that was drawn to show what belongs to it, or what does not.")
        self.segmentComboBox.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.applyButton = qt.QPushButton(_("Apply"))
        self.applyButton.toolTip = _(
            "Correct by all of it at once, with the meaning above; one undo takes it back. The node stays as it is."
        )
        self._effect.addLabeledOptionsWidget(_("From the scene:"), self.nodeSelector)
        row = qt.QHBoxLayout()
        row.addWidget(self.segmentComboBox, 1)
        row.addWidget(self.applyButton, 1)
        self._effect.addLabeledOptionsWidget("", row)
        self.nodeSelector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: self.showSegments())
        self.applyButton.connect("clicked()", onApply)
        self.showSegments()

    def showSegments(self):
        """Offer the segments of the chosen segmentation, except the one that is corrected."""
        node, box = self.nodeSelector.currentNode(), self.segmentComboBox
        isSegmentation = node is not None and node.IsA("vtkMRMLSegmentationNode")
        box.setVisible(isSegmentation)
        segments = []
        if isSegmentation:
            segmentation, parameters = node.GetSegmentation(), self._effect.parameterSetNode()
            isSame = parameters is not None and parameters.GetSegmentationNode() is node
            corrected = parameters.GetSelectedSegmentID() if isSame else None
            ids = [segmentId for segmentId in segmentation.GetSegmentIDs() if segmentId != corrected]
            segments = [(segmentation.GetSegment(segmentId).GetName(), segmentId) for segmentId in ids]
        if segments != [(box.itemText(index), box.itemData(index)) for index in range(box.count)]:
            Widgets.fillComboBox(box, segments, keepsChoice=False)

    @property
    def shown(self):
        """``SceneGestures.Shown``, the markups or the segment that is chosen; None without one."""
        node = self.nodeSelector.currentNode()
        if node is None:
            return None
        if not node.IsA("vtkMRMLSegmentationNode"):
            return Shown(node)
        segmentId = self.segmentComboBox.currentData
        return Shown(node, segmentId) if segmentId else None

    @property
    def kind(self):
        """The kind of gesture that is chosen, of ``protocol.GESTURES``."""
        return next(kind for kind, button in self.kindButtons.items() if button.checked)

    @kind.setter
    def kind(self, kind):
        self.kindButtons[kind].checked = True

    @property
    def isPositive(self):
        """Whether gestures show what belongs to the segment."""
        return self.addButton.checked

    @isPositive.setter
    def isPositive(self, isPositive):
        (self.addButton if isPositive else self.removeButton).checked = True

    @property
    def carry(self):
        """To how many slices on either side corrections are carried."""
        return self.carrySpinBox.value

    def allowForget(self, isAllowed):
        """Offer to take the last click back."""
        self.forgetButton.enabled = isAllowed

    def say(self, text):
        """Show sentences, one a line; without any what to do first."""
        self.messageLabel.text = text or _("Choose a segment and click into a slice view where it is wrong.")


def _nodeSelector():
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = list(NODE_TYPES)
    selector.showChildNodeTypes = False
    selector.noneEnabled = True
    selector.noneDisplay = _("Markups or a segment")
    selector.addEnabled = False
    selector.removeEnabled = False
    selector.setMRMLScene(slicer.mrmlScene)
    selector.toolTip = _(
        "Points, lines, curves, boxes or a segment of the scene that show where it is wrong. A closed curve that lies"
        " in one slice counts with all that it encloses."
    )
    return selector


def _choice(text, toolTip):
    button = qt.QPushButton(text)
    button.checkable = True
    button.toolTip = toolTip
    return button


def _row(buttons):
    """A row of buttons of which one is checked."""
    frame = qt.QFrame()
    layout = qt.QHBoxLayout(frame)
    layout.setContentsMargins(0, 0, 0, 0)
    group = qt.QButtonGroup(frame)
    for button in buttons:
        layout.addWidget(button)
        group.addButton(button)
    return frame
