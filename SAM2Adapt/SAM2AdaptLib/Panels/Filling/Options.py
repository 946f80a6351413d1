"""Controls of the effect: direction, next slice to draw, slices without a structure, messages."""

import ctk
import qt
import slicer
from slicer.i18n import tr as _


class Options:
    """Widgets above those of Slicer's base class.

    :ivar directionComboBox, regionSelector, nextSliceButton, structureComboBox, emptyButton, messageLabel,
        trainButton: the widgets.
    """

    def __init__(self, effect, onDirection, onRegion, onNextSlice, onEmpty, onTrain):
        """
        :param effect: Slicer's ``qSlicerSegmentEditorScriptedEffect``, whose options frame gets the widgets.
        :param onDirection, onNextSlice, onEmpty, onTrain: called when the user chooses a direction or clicks a button.
        :param onRegion: called with the region that the user chooses, or None.
        """
        self.directionComboBox = _directionComboBox()
        effect.addLabeledOptionsWidget(_("Slices:"), self.directionComboBox)

        self.regionSelector = _regionSelector()
        effect.addLabeledOptionsWidget(_("Region:"), self.regionSelector)

        self.structureComboBox = qt.QComboBox()
        self.structureComboBox.toolTip = _("Structure that is not in the shown slice.")
        self.structureComboBox.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        self.emptyButton = qt.QPushButton(_("Nothing here"))
        self.emptyButton.toolTip = _("Say that the structure is not in the slice that is shown; again takes it back.")
        row = qt.QHBoxLayout()
        row.addWidget(self.structureComboBox, 1)
        row.addWidget(self.emptyButton)
        effect.addLabeledOptionsWidget(_("Empty slice:"), row)

        self.messageLabel = qt.QLabel()
        self.messageLabel.wordWrap = True
        self.messageLabel.objectName = "FillMessageLabel"
        effect.addOptionsWidget(self.messageLabel)

        self.nextSliceButton = qt.QPushButton()
        self.nextSliceButton.toolTip = _("Show the slice that improves the result most when it is drawn.")
        effect.addLabeledOptionsWidget(_("Draw next:"), self.nextSliceButton)

        self.directionComboBox.connect("currentIndexChanged(int)", lambda index: onDirection())
        self.regionSelector.connect("currentNodeChanged(vtkMRMLNode*)", onRegion)
        self.nextSliceButton.connect("clicked()", onNextSlice)
        self.emptyButton.connect("clicked()", onEmpty)
        self.trainButton = qt.QPushButton(_("Use for training"))
        self.trainButton.connect("clicked()", onTrain)
        self.allowTraining(False)
        self.showNextSlice(None)
        self.say("")

    @property
    def direction(self):
        """ "axial", "coronal", "sagittal", or None for as drawn."""
        return self.directionComboBox.itemData(self.directionComboBox.currentIndex) or None

    @direction.setter
    def direction(self, direction):
        _silently(self.directionComboBox, "setCurrentIndex", self.directionComboBox.findData(direction or ""))

    @property
    def region(self):
        """vtkMRMLMarkupsROINode outside which nothing is filled, or None."""
        return self.regionSelector.currentNode()

    @region.setter
    def region(self, roiNode):
        _silently(self.regionSelector, "setCurrentNode", roiNode)

    @property
    def segmentId(self):
        """The structure chosen for “Nothing here”, "" without one."""
        return self.structureComboBox.itemData(self.structureComboBox.currentIndex) or ""

    def showStructures(self, structures):
        """Offer structures: list of (segment ID, name)."""
        box = self.structureComboBox
        known = [(box.itemData(index), box.itemText(index)) for index in range(box.count)]
        self.emptyButton.enabled = bool(structures)
        if structures == known:
            return
        chosen = self.segmentId
        box.clear()
        for segmentId, name in structures:
            box.addItem(name, segmentId)
        box.setCurrentIndex(max(0, box.findData(chosen)))

    def showNextSlice(self, number):
        """Offer to go to a slice, counted from 1; None: there is none to draw."""
        self.nextSliceButton.enabled = number is not None
        self.nextSliceButton.text = _("Go to slice {slice}").format(slice=number) if number else _("Go to next slice")

    def allowTraining(self, isAllowed):
        """Offer to train on the filled segmentation, or say why not."""
        self.trainButton.enabled = isAllowed
        self.trainButton.toolTip = (
            _("Open the training module with this segmentation; filled slices weigh less than drawn ones.")
            if isAllowed
            else _("Fill and apply first.")
        )

    def say(self, text):
        """Show sentences, one a line; without any what to do first."""
        self.messageLabel.text = text or _("Draw the structures in some slices, then click “Fill”.")


def _silently(widget, method, *arguments):
    wasBlocked = widget.blockSignals(True)
    getattr(widget, method)(*arguments)
    widget.blockSignals(wasBlocked)


def _regionSelector():
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLMarkupsROINode"]
    selector.showChildNodeTypes = False
    selector.noneEnabled = True
    selector.noneDisplay = _("Whole volume")
    selector.renameEnabled = True
    selector.removeEnabled = False
    selector.baseName = _("Region")
    selector.setMRMLScene(slicer.mrmlScene)
    selector.toolTip = _("Only what lies in this box is filled.")
    return selector


def _directionComboBox():
    box = ctk.ctkComboBox()
    for text, direction in (
        (_("As drawn"), ""), (_("Axial"), "axial"), (_("Coronal"), "coronal"), (_("Sagittal"), "sagittal")
    ):  # fmt: skip
        box.addItem(text, direction)
    box.toolTip = _("Which slices are drawn; “As drawn” may be two directions at once.")
    return box
