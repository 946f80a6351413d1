"""What the tests of both panels share: a panel whose events are processed until something shows."""

DEADLINE = 600  # seconds; a busy machine is slow, and a test that waits in vain fails anyway


class BasePanel:
    """A module's panel with the texts that its status line has shown."""

    def __init__(self, widget, processEvents):
        self.widget = widget
        self.ui = widget.ui
        self.processEvents = processEvents
        self.texts = []

    @property
    def status(self):
        return self.ui.statusLabel.text

    @property
    def hint(self):
        """Why the panel's button cannot be clicked."""
        return "" if self.ui.hintLabel.isHidden() else self.ui.hintLabel.text

    def waitFor(self, condition):
        def look():
            if not self.texts or self.texts[-1] != self.status:
                self.texts.append(self.status)
            return condition()

        self.processEvents(DEADLINE, until=look)
        assert condition(), self.texts
