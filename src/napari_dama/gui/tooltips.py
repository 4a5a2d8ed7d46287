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
EXPORT = "Hand the cells over: tables, QuPath, squidpy, OME-Zarr, pictures, and a paragraph for your paper."
EXPORT_VIEW = (
    "Visible markers in their colours and contrast, cells as they are shown, a legend and a scale bar. "
    "As PNG, PDF or SVG."
)
EXPORT_WHOLE = "The same of everything that was analysed, made smaller where it is large."
EXPORT_COPY = "Put a methods paragraph with versions, model, settings and references on the clipboard."
EXPORT_CANCEL = "Stop writing. Nothing is left half-written."
EXPORT_FOLDER = "Show what was written in the file manager."
RUN_WHERE = "Where and when the run runs. Wherever it is, it appears in the list below."
RUN_NOW = "Start at once, in a process of its own on this computer."
RUN_CLUSTER = (
    "Send the run to a SLURM cluster. The job's folder must lie on storage that the cluster sees as well."
)
RUN_CLUSTER_OFF = (
    "Keep settings as your defaults (the button beside this list), and the window makes jobs ready for a computer that "
    "submits them."
)
RUN_SETTINGS = "What to ask of a SLURM cluster, and the script that it would get."
CLUSTER_PLACE = "The cluster must see this folder, the slides and the crops under the same paths."
CLUSTER_PARTITION = "The group of nodes to run on; 'sinfo' on the cluster lists them."
CLUSTER_ACCOUNT = "Whom the time is charged to, where the cluster asks for it."
CLUSTER_TIME = (
    "Limit of one session: 90 (minutes), 4:00:00, or 2-12:00:00 (days-hours). Shorter sessions begin sooner; a run that "
    "needs longer saves a checkpoint, is queued again and goes on."
)
CLUSTER_NODES = "Computers that share the run. One is enough for most."
CLUSTER_GPUS = "Graphics cards on each node; the run is shared among all of them. 0 trains on processors."
CLUSTER_CPUS = "Processor cores for each task; there is one task per graphics card."
CLUSTER_MEMORY = "Main memory on each node in gigabytes."
CLUSTER_SETUP = (
    "Shell commands before the run, one a line, such as 'module load cuda' or 'source ~/dama/bin/activate'."
)
CLUSTER_GPU_TYPE = "A kind of graphics card, such as a100, by the cluster's own name."
CLUSTER_GPU_REQUEST = "How the cluster wants to be asked for graphics cards; its documentation says which."
CLUSTER_QOS = "Quality of service, where the cluster has several."
CLUSTER_CONSTRAINT = "Features that a node must have."
CLUSTER_PYTHON = "Command that starts Python on the nodes, where it is another one than here."
CLUSTER_RESTARTS = (
    "How often the run may be queued again after its time limit or when another job takes its node."
)
CLUSTER_CHECKPOINT = "How many seconds before its time limit the run is told to save a checkpoint."
CLUSTER_EXTRA = "Further options of sbatch, one a line, such as --mail-type=END."
CLUSTER_SCRIPT = "The submission file, word for word, as sbatch gets it."
CLUSTER_SAVE = "Save the script to look at it elsewhere. The window submits it by itself."
CLUSTER_KEEP = "Begin with these settings next time, here and on the command line (napari-dama jobs cluster)."
CLUSTER_CANCEL = "The job was asked to stop and is still at it: tell SLURM to end it (scancel). The last checkpoint is kept."
ANNOTATE_CLASS = "Give the selected cells this type. In the picture, press its key."
ANNOTATE_COUNT = "Cells of this type, and how many of them a person has looked at."
ANNOTATE_MORE = "Rename, recolour or delete this class."
ANNOTATE_ADD = "Type the name of a class and press Enter. It gets the next free key."
ANNOTATE_BOX = "Drag a box over cells to select them all. Without this button: drag with Shift held."
ANNOTATE_DESELECT = "Select no cell."
ANNOTATE_CONFIRM = (
    "Say that the selected cells are what they are called (key: Enter). They count as reviewed."
)
ANNOTATE_UNDO = (
    "Take back the last correction (Ctrl+Z). It goes back as far as this result was ever corrected."
)
ANNOTATE_REDO = "Do again what was taken back (Ctrl+Shift+Z)."
ANNOTATE_EVERYWHERE = "Keys 1 to 9 give types in the other tabs, too. Else only while this tab is in front."
ANNOTATE_SAVED = "Every correction is written beside the slide as it is made."
NEXT_CELL = "Go to the cell from which the model would learn most (key: N): it hesitates, or disagrees with like cells."
NEXT_ADVANCE = "After each answer, go on to the next cell by itself."
GALLERY = "See many cells of a type side by side, the most doubtful first, and correct them there."
OUTLINES_EDIT = (
    "Lay a copy of the outlines in view over the picture, to paint, fill and erase with napari's own tools."
)
GALLERY_TYPE = "Which cells to show."
GALLERY_UNSEEN = "Leave out the cells that somebody typed or confirmed already."
GALLERY_AGAIN = "Order the cells anew by doubt, and draw them in the markers' colours of now."
GALLERY_MORE = "Show 500 cells more."
OUTLINES_NEW = "Paint a cell that was not found, with napari's brush."
OUTLINES_DELETE = "Take the chosen cells out."
OUTLINES_MERGE = (
    "Join the chosen cells, which must touch each other. The cell gets the type that most of its area had."
)
OUTLINES_LINE = "Draw a line across a cell to cut it in two. Both halves keep the type."
OUTLINES_SEEDS = "Click two spots in a cell, one in each half: it is parted at its waist."
OUTLINES_KEEP = "Take the outlines over into the result: labels, areas and intensities are measured anew. It can be undone."
OUTLINES_DISCARD = "Leave the result as it was."
IMPROVE_START = (
    "A job learns from the cells that you corrected or confirmed. Some are held out by place; on those the model is compared "
    "before and after. It runs on when napari is closed, and nothing changes until you accept."
)
IMPROVE_ENCODER = (
    "Else only the last layer learns, within a minute or two. The whole network can learn new looks, takes longer, and forgets "
    "more easily what other slides look like."
)
IMPROVE_PSEUDO = (
    "Also take cells that nobody looked at but of which the model is sure. On a slide on which it is wrong and sure, this makes "
    "things worse."
)
IMPROVE_CANCEL = "Stop it. Models and cells stay as they are."
IMPROVE_TABLE = (
    "Of the held-out cells of each class, the share that the model tells as you do, before and after."
)
IMPROVE_NAME = "Name of the improved model on the shelf. The model that it comes from stays there, too."
IMPROVE_ANEW = (
    "With the improved model, give the cells of this slide that nobody reviewed their types anew. Outlines and your own types "
    "stay, and Undo takes it back."
)
IMPROVE_ACCEPT = "Put the improved model on the shelf and choose it."
IMPROVE_DISCARD = "Delete the job with its model. Nothing else changes."
