"""Words of the engine server's protocol, for engine and Slicer; ``requests.schema`` has the methods."""

from .. import __version__

VERSION = __version__  # of SAM2Adapt, engine and Slicer's side

# Methods that the server handles at once, even while it computes.
CANCEL, CONTROL, SHUTDOWN = "cancel", "control", "shutdown"
# What ``control`` can ask of a training or a batch.
RUN, PAUSE, STOP = "run", "pause", "stop"
ACTIONS = (PAUSE, RUN, STOP)
# Notification that there will be no answer: the engine on another computer cannot be reached, or was lost.
FAILED = "failed"
# Versions of the protocol. 1: lines between a client and an engine on one computer, which need no agreement. 2: the
# same messages, and files, in frames (``stream/``); the engine's greeting says which it speaks, the client's HELLO
# which it takes.
LINES, STREAM = 1, 2
VERSIONS = (STREAM,)  # that are spoken in frames
HELLO, OFFER = "hello", "offer"
# Notification that the model of a training has arrived, so that nothing of it is needed there any more.
FETCHED = "fetched"
# Where files that were sent are kept there: for some days, or as long as the connection.
CASES, MODELS, VOXELS = "cases", "models", "voxels"
# Notification that the preview of ``fill`` is written.
PREVIEW = "preview"
# Error codes: an error that the user can fix, a bug of ours, and those of JSON-RPC.
USER_ERROR, DEFECT = 1, -32000
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
# Dice that a continued model may lose at what its parent could do. If it loses more, the user decides whether to keep
# it.
FORGETTING = 0.005
# Stages in progress notifications.
LOADING, SEGMENTING, FINISHING, RANKING, DOWNLOADING = "loading", "segmenting", "finishing", "ranking", "downloading"
SEARCHING, BATCH = "searching", "batch"
READING, PREPARING, TRAINING, VALIDATING, PAUSED = "reading", "preparing", "training", "validating", "paused"
ESTIMATING = "estimating"
SENDING = "sending"  # files to another computer
FILLING = "filling"
DRAWING = "drawing"
# Kinds of gestures of `correct`; a point is a scribble of one voxel, and a drawing counts piece by piece.
GESTURES = POINT, SCRIBBLE, BOX, DRAWN = ("point", "scribble", "box", "drawn")
HELD_OUT = 5  # where no case is set aside for validation, a training keeps every fifth out, at least one of several
