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
ANOTHER_MASK = "Hide other pieces of the same crop."
EXPLAIN_SHOW = "Which of the explanation's layers are visible."
EXPLAIN_CLEAR = "Remove the explanation's layers."

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

MARKER_NAME = "Click: take it in hand (histogram, keys). Click twice: show it alone."
NO_LAYER = "This marker's layer was removed from the window. It is analysed and measured all the same."
HISTOGRAM = (
    "How often each brightness occurs, on a logarithmic scale, counted on a part of the slide. Drag the edges of the band: "
    "contrast of the picture. Dashed lines and curve: how the model scales the marker, whatever the picture shows."
)
PREVIOUS_MARKER = "Show the previous marker alone (key: comma, in the picture)."
NEXT_MARKER = "Show the next marker alone (key: full stop, in the picture)."
SOLO = "Show this marker alone; again: back to what was shown (key: H, in the picture)."
PRESETS = "Save colours and contrast, and apply them to this slide, to all, or to every slide that you open."
PRESET_VALUE = (
    "The same brightness looks the same on every slide. Right for slides of one microscope and exposure."
)
PRESET_PERCENTILE = (
    "Every slide is stretched to its own pixels. Right for slides of other exposure, dye or bit depth."
)
PRESET_DEFAULT = "Applied by itself to slides with at least half of these markers."
PRESET_REPLACE = "There is a preset of that name: replace it."
RENAME = "Paste or read a list of marker names, and see how they meet the model's, before anything changes."
RENAME_UNDO = "Go back to the names before."
RENAME_LIST = "One name per line, or with commas or tabs between them, in the order of the channels."
RENAME_FILE = (
    "A text, CSV or TSV file: one name per line, or columns such as channel and marker (MCMICRO, CODEX)."
)
RENAME_OWN = "The names that the slide's own file gives."
RENAME_DO = (
    "Use the new names. They are kept in a small file beside the slide, which is itself left as it is."
)
MAPPING = "How the slide's markers meet the model's, why, and what follows; and whether they look as the model expects."
MAP_SLIDE_MARKER = "The slide's marker that serves this marker of the model."
MARKER_CHECK = (
    "Compares stained area, place (in nuclei or not) and grain of each marker with the slides that the model learned from. "
    "It finds many swapped channels and failed stains, not all of them: look at the picture, too."
)
SPLIT = "Make one layer per marker, each with its own colour and contrast, so that several are seen at once."
SAVE_TIFF = "Write this slide as OME-TIFF with its marker names and pixel size, and go on with that file."
USE_LAYERS = "Take image layers that were opened by another reader, or added by hand, as a slide."
ADOPT_LAYERS = "A layer with an axis of channels, or several layers of one size with a marker each."
ADOPT_AXIS = "The axis along which the markers lie. Of other axes the plane that is in view is taken."
ADOPT_USE = "Nothing is copied: the slide reads from the layers."
