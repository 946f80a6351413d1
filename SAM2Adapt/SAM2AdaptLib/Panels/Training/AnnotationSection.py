"""What the chosen case says about its slices: which are annotated, and which show none of the structures."""

from sam2adapt.shared.errors import SettingsError, UserError
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import SliceViews, VolumeGrid
from SAM2AdaptLib.Training import Cases, SliceNumbers


class AnnotationSection:
    """Widgets below the table of cases, for a case in the scene."""

    def __init__(self, ui, onExamine):
        """
        :param ui: widgets of the panel by name.
        :param onExamine: called with a case whose slices mean something else now.
        """
        self._ui, self._onExamine = ui, onExamine
        self._case = None
        self._refused = None  # the segmentation node for which wrong numbers are still in the box
        for text, whole in (
            (_("as the segments look"), None),
            (_("all of the volume"), True),
            (_("only those with segments"), False),
        ):
            ui.annotatedComboBox.addItem(text, whole)
        ui.annotatedComboBox.connect("activated(int)", self._setWhole)
        ui.emptySlicesEdit.connect("editingFinished()", self._declareTyped)
        ui.emptySliceButton.connect("clicked()", self._declareShown)

    def show(self, case):
        """Show a case, None for no case."""
        isInScene = case is not None and case.segmentationNode is not None
        self._case = case if isInScene else None
        self._ui.annotationWidget.visible = isInScene
        if not isInScene:
            return
        choice = {Cases.ALL: 1, Cases.SOME: 2}
        attribute = case.segmentationNode.GetAttribute(Cases.ANNOTATED_ATTRIBUTE)
        self._ui.annotatedComboBox.setCurrentIndex(choice.get(attribute, 0))
        hasSlices = case.axis is not None
        for widget in (self._ui.emptySlicesEdit, self._ui.emptySliceButton):
            widget.enabled = hasSlices
        name = VolumeGrid.trainingSlices(case.volumeNode).name if hasSlices else ""
        self._ui.emptySlicesEditLabel.text = _("Empty {direction} slices:").format(direction=name).replace("  ", " ")
        if self._refused is not case.segmentationNode:
            self._ui.emptySlicesEdit.text = SliceNumbers.asText(self._declared()) if hasSlices else ""

    def _declared(self):
        try:
            return Cases.emptySlices(self._case.segmentationNode, self._case.axis)
        except UserError:
            return []  # the case says what is wrong with them

    def _setWhole(self, index):
        Cases.setWhole(self._case.segmentationNode, self._ui.annotatedComboBox.itemData(index))
        self._onExamine(self._case)

    def _declareTyped(self):
        if self._case is None or self._case.axis is None:
            return
        text = self._ui.emptySlicesEdit.text
        if self._refused is None and text == SliceNumbers.asText(self._declared()):
            return
        try:
            self._declare(SliceNumbers.parse(text, self._case.sliceCount))
        except UserError as error:
            self._refused = self._case.segmentationNode
            self._ui.statusLabel.text = str(error)

    def _declareShown(self):
        """Declare the slice that a slice view shows to be empty, or take that back."""
        case, slices = self._case, VolumeGrid.trainingSlices(self._case.volumeNode)
        index = SliceViews.shownSlice(slices)
        names = {"direction": slices.name, "volume": case.volumeNode.GetName()}
        try:
            if index is None:
                message = _("No slice view shows an {direction} slice of '{volume}'.").format(**names)
                raise SettingsError(message, _("Show one."))
            if index in case.drawnSlices:
                message = _("A structure is drawn in {direction} slice {number}.").format(number=index + 1, **names)
                raise SettingsError(message, _("Erase it there, or show another slice."))
            self._declare({*self._declared()} ^ {index})
        except UserError as error:
            self._ui.statusLabel.text = str(error)

    def _declare(self, indices):
        self._refused = None
        Cases.declareEmpty(self._case.segmentationNode, self._case.axis, indices)
        self._ui.statusLabel.text = ""
        self._onExamine(self._case)
