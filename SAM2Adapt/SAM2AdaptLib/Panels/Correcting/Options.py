"""Controls of the effect: what a click is, what it means, how far it is carried, and messages."""

import qt
from sam2adapt.shared.protocol import BOX, POINT, SCRIBBLE
from slicer.i18n import tr as _

MOST_CARRIED = 20  # slices


class Options:
    """Widgets of the effect.

    :ivar kindButtons: buttons by kind of gesture; ``addButton``, ``removeButton``, ``carrySpinBox``, ``forgetButton``,
        ``messageLabel``: the other widgets.
    """

    def __init__(self, effect, onForget):
        """
        :param effect: Slicer's ``qSlicerSegmentEditorScriptedEffect``, whose options frame gets the widgets.
        :param onForget: called when the user takes the last click back.
        """
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
