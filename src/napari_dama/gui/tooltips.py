"""Every tooltip of the window, in one place."""

from __future__ import annotations

DETAILS = "Show the traceback, to copy into a bug report."
DISMISS = "Hide this message."

SLIDE = "The slide that DAMA works on. Open one with File > Open, or drop it on the window."
MODEL = "The model that finds cells and tells their types. Hover an entry for what it was trained on."

SHOW_MARKER = "Show or hide this marker."
COLOUR = "Choose this marker's colour."
CONTRAST = "Darkest and brightest value shown. This changes the picture only: the analysis scales each marker by itself."
FEEDS = (
    "The model's channel that this marker feeds. 'not used' keeps it out of the model; it is still measured."
)
HOW = "How this marker was matched to the model's channel."
PIXEL_SIZE = "Width of one pixel in micrometres. Cells are resized by it, so a wrong value finds wrong cells."
SHOW_ALL = "Show every marker."
SHOW_USED = "Show only the markers that feed the model."
RESET_MAP = "Forget your choices and match the markers by their names again."

DEVICE = "Where the model runs. 'auto' takes a graphics card when there is one."
REGION_WHOLE = "Analyse the whole slide."
REGION_VIEW = "Analyse the part of the slide that the window shows now."
REGION_SHAPE = (
    "Analyse the box around the selected shape (add a Shapes layer, draw a rectangle, keep it selected)."
)
TYPES = "Tell each cell's type, when the slide has the markers that the types rest on."
OUT = "Folder that the result is written to. It must not exist yet: nothing is ever overwritten."
BROWSE = "Choose another folder."
RUN = "Find every cell, measure it, and tell its type."
CANCEL = "Stop after the piece that is being worked on. What is finished is kept."

OPEN_RESULT = "Open the folder that an earlier analysis wrote."
COLOUR_BY_TYPE = "Give every cell the colour of its type."
COLOUR_BY_INSTANCE = "Give every cell a colour of its own, to see where one ends and the next begins."
OUTLINES = "Draw outlines only, so that the markers stay visible inside the cells."
LEGEND = "Click a type to hide or show its cells."
CELL = "Click a cell in the picture to see what the model makes of it."

EXPLAIN_CELL = "Explain the cell that was clicked last."
EXPLAIN_CENTRE = "Explain the spot in the middle of the view."
MASK_RATIO = "Share of the crop that is hidden from the model. DAMA was trained with 80 %."
OVERLAP_RATIO = "Of the pieces that the model sees, the share that both masks have in common."
ANOTHER_MASK = (
    "Hide other pieces of the same crop. Each mask has a number: the same number hides the same pieces."
)
EXPLAIN_SHOW = "Which of the explanation's layers are visible."
EXPLAIN_CLEAR = "Remove the explanation's layers."

EXPLAIN_QUESTION = "What to ask the model about the place or the cell."
EXPLAIN_FOLLOW = "Ask again wherever the cursor is over the slide. A click keeps the place and puts its layers on the slide."
EXPLAIN_MARKER = "Show all markers in their colours, or one in grey. The difference is that of this marker."
EXPLAIN_SAVE = (
    "Save this explanation: a figure (.png), or all images, masks and errors as an OME-TIFF (.tif)."
)
PICTURES = {
    "slide": "The square of the slide itself. Click to see the slide without anything on top.",
    "seen": "What the model was shown: grey pieces were hidden from it.",
    "filled": "Hidden pieces as the model filled them in, visible ones as they are.",
    "difference": "Filled in minus true: red where it was made too bright, blue where too dark, black where right or seen.",
    "error": "How wrong each hidden piece is, from black (right) to pale yellow (most wrong). Seen pieces are black.",
    "overlap": "Pieces that both masks show, in yellow.",
}
TYPE_BARS = "How sure the model is of each type of the cell in the middle."
MARKER_BARS = (
    "How many points of certainty the type loses when a marker is made dark, everything else being left. Two markers that "
    "say the same cover for each other. This tests the model, not the biology."
)
EXPLAIN_MAP = (
    "Spots that matter: each spot is darkened, and red ones cost the type certainty (blue ones were against it). "
    "Attention shows where the network gathers information from; that is no proof of what its answer rests on. The type is "
    "read from the pieces, weighted towards the middle, and not from the class token."
)
MISSING_MARKER = "The marker that is taken away from the model and predicted from the others."
MISSING_HERE = "Predict this marker in the square around the place."
MISSING_VIEW = "Predict this marker over all that the window shows now. Zoom in first: large parts take long."
MISSING_HONEST = (
    "Measured on pieces of 4 µm: how much of the marker's variation a line fitted on one half of them explains in the other "
    "half. 0 % is no better than the marker's mean. The networks were trained to fill in hidden pieces, not hidden markers."
)
MISSING_CLEAR = "Remove the predicted markers from the slide."
LIKE_COMPUTE = (
    "Let the network look at every cell of this result once. What it makes of them is kept in its folder."
)
LIKE_FIND = "Find the cells whose features are nearest to those of the clicked cell, anywhere on the slide."
LIKE_CELL = (
    "Click to go to this cell. The number is the distance in the network's features: 0 the same, 1 unrelated."
)
LIKE_CANCEL = "Stop looking at cells. Nothing is kept."

TRAIN_KIND = "Pretraining needs no labels. Fine-tuning needs cells with types, or slides with outlined cells."
TRAIN_DATA = "A crop store, slides, or folders of slides, with ; between several. Left empty: cells of the open slides."
TRAIN_INIT = "Start from a model of the shelf, or from nothing."
TRAIN_EPOCHS = "How often every cell is seen."
TRAIN_STEPS = "Stop after this many steps, even within an epoch. 0: no limit."
TRAIN_BATCH = "Cells per step. Lower it when memory runs out."
TRAIN_SEED = "The same seed gives the same run on a CPU."
TRAIN_START = "Start training in a process of its own: it goes on when this window is closed."
TRAIN_USE = "Take the finished model for the Analyse tab."
FIND_DEVICES = "Look for graphics cards and show how much memory is free (takes a few seconds)."
EXPLAIN_MASK = "The random mask, or the adaptive mask that follows from the random mask's errors."
EXPLAIN_HONEST = (
    "Each filled-in piece gets the true mean and spread of its place, as in the figures of the literature: compare shapes, "
    "not brightness. The error counts hidden pieces only."
)
TRAIN_BROWSE = "Choose a crop store, or a folder of slides with outlined cells."
RESUME = "Go on with the run that was cancelled: finished tiles are not done again."
OPEN_AS_SLIDE = "Open this file with DAMA's reader: one layer per marker, with names, colours and sizes."
PREVIEW_STEP = "Go back to earlier pictures. At the right end it follows the newest one."
PREVIEW_LARGER = "Open the picture in your system's image viewer."
JOBS_LIST = (
    "Every job of this machine, whether it was started here or on the command line. Those at work come first."
)
JOB_STOP = "Finish the step, save a checkpoint and stop. The job can be resumed later."
JOB_RESUME = "Go on from the last checkpoint, in a process of its own."
JOB_DELETE = "Delete the job: its settings, curves, checkpoints and model. Asks first."
JOB_FOLDER = "Show the job's folder in the file manager."
JOB_ADD = "Add a job that is not in the list, by its folder."
LOG_AXIS = "Draw the loss on a logarithmic axis: late, small progress becomes visible."
TRAIN_ANNOTATION = (
    "Learn cell types from a layer: Labels, Points or Shapes whose features have a column named class or type. "
    "The job cuts the crops itself."
)
TRAIN_MORE = "Settings for a run that is started next."
