"""Words of the engine server's protocol that both sides of the wall use; ``requests.schema`` has the methods."""

# Methods that the server itself handles, whatever is being computed.
CANCEL, CONTROL, SHUTDOWN = "cancel", "control", "shutdown"
# What ``control`` can tell a training or a batch.
RUN, PAUSE, STOP = "run", "pause", "stop"
ACTIONS = (PAUSE, RUN, STOP)
# Notification that a first answer of ``fill`` is there.
PREVIEW = "preview"
# Codes of errors: what a user can mend, a defect of ours, and JSON-RPC's own.
USER_ERROR, DEFECT = 1, -32000
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
# Dice that a continued model may lose on what it could before; beyond it the user decides whether to keep the model.
FORGETTING = 0.005
# Stages that progress names.
LOADING, SEGMENTING, FINISHING, RANKING, DOWNLOADING = "loading", "segmenting", "finishing", "ranking", "downloading"
SEARCHING, BATCH = "searching", "batch"
READING, PREPARING, TRAINING, VALIDATING, PAUSED = "reading", "preparing", "training", "validating", "paused"
ESTIMATING = "estimating"
FILLING = "filling"
STAGES = (
    LOADING, SEGMENTING, FINISHING, RANKING, DOWNLOADING, SEARCHING, BATCH, READING, PREPARING, TRAINING, VALIDATING,
    PAUSED, ESTIMATING, FILLING,
)  # fmt: skip
HELD_OUT = 5  # where no case is set aside for validation, a training keeps every fifth out, at least one of several
