"""Every tooltip of the window, in one place."""

from __future__ import annotations

DETAILS = "Show the traceback, to copy into a bug report."
DISMISS = "Hide this message."

SLIDE = "The slide that DAMA works on. Open one with File > Open, or drop it on the window."
MODEL = "The model that finds cells and tells their types. Hover an entry for what it was trained on."

SHOW_MARKER = "Show or hide this marker."
COLOUR = "Choose this marker's colour."
CONTRAST = (
    "Darkest and brightest value shown. This changes the picture only: the analysis scales each marker "
    "by itself."
)
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

ANALYSE_RUN = (
    "In this window, or in the background: in a process of its own that goes on when napari is closed and is found again "
    "in the list of jobs (Train tab)."
)
RUN_WINDOW = "It ends with napari. Good for small regions."
ANALYSE_NOW = "At once, in a process of its own that goes on when napari is closed."
RUN_QUEUE = "In a process of its own that waits until no other job uses the device, and goes on when napari is closed."
RUN_SHOW = "Look at it in the list of jobs, where it can be stopped and resumed."
JOB_OPEN = "Show the cells on their slide: those found so far, growing, or the whole result."
JOB_CANCEL = "Take it out of the line. Its folder stays, and Resume puts it back to work."
JOB_EARLIER = "Let it change places with the job before it in the line."
JOB_LATER = "Let it change places with the job behind it in the line."
OPEN_RESULT = "Open the folder that an earlier analysis wrote."
RESULT_OUTDATED = (
    "These columns were kept from a plot, and the cells that they rest on were corrected since. Open Plots and keep them "
    "anew; or undo the corrections, and they hold again."
)
COLOUR_BY_TYPE = (
    "What the colours stand for: the type, how sure the model is, or any column of the table. 'cell, at random' shows where "
    "one cell ends and the next begins."
)
COLORMAP = "Colours from low to high. In each of these, equal steps of the value look equal."
COLOUR_RANGE = (
    "The share of the cells (percentiles) that the colours span. Cells beyond have the first or the last "
    "colour."
)
COLOUR_RANGE_RESET = "Back to the usual range, from the 2nd to the 98th percentile."
OUTLINES = "Draw outlines only, so that the markers stay visible inside the cells."
LEGEND = "Click a type to hide or show its cells. Alt+click or Ctrl+click shows only this one; again, all."
LEGEND_COLOUR = "Change this type's colour, on the slide and in every plot."
LEGEND_ALL = "Show the cells of every type again."
FEATURES_TABLE = (
    "Open napari's own table of the cells: sort, copy, save as CSV. Rows that you select there are "
    "marked on the slide."
)
PLOTS = (
    "Map of the cells by likeness, markers per type, distributions, neighbours, and agreement with "
    "annotations."
)
DESELECT = "Take the marks off the slide."
CELL = "Click a cell in the picture to see what the model makes of it."

EXPLAIN_CELL = "Explain the cell that was clicked last."
EXPLAIN_CENTRE = "Explain the spot in the middle of the view."
MASK_RATIO = "Share of the crop that is hidden from the model. DAMA was trained with 80 %."
OVERLAP_RATIO = "Of the pieces that the model sees, the share that both masks have in common."
ANOTHER_MASK = (
    "Hide other pieces of the same crop. Each mask has a number: the same number hides the same pieces."
)
EXPLAIN_SHOW = "Which of the explanation's layers are visible."
EXPLAIN_CLEAR = "Take all answers off the slide. Their layers stay in the list, hidden, for the next answer."

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
MISSING_CLEAR = "Take the predicted markers off the slide and out of the list of layers."
LIKE_COMPUTE = (
    "Let the network look at every cell of this result once. What it makes of them is kept in its folder."
)
LIKE_FIND = "Find the cells whose features are nearest to those of the clicked cell, anywhere on the slide."
LIKE_CELL = (
    "Click to go to this cell. The number is the distance in the network's features: 0 the same, 1 unrelated."
)
LIKE_CANCEL = "Stop looking at cells. Nothing is kept."

TRAIN_KIND = "Pretraining needs no labels. Fine-tuning needs cells with types, or slides with outlined cells."
TRAIN_DATA = (
    "A crop store, slides, or folders of slides, with ; between several. Left empty: cells of the open "
    "slides."
)
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
OPEN_SLIDE = (
    "Choose a TIFF, QPTIFF or NumPy file: it opens with one layer per marker. "
    "A folder (OME-Zarr) opens with File > Open Folder."
)
OPEN_AS_SLIDE = "Open this file with DAMA's reader: one layer per marker, with names, colours and sizes."
PREVIEW_STEP = "Go back to earlier pictures. At the right end it follows the newest one."
PREVIEW_LARGER = "Open the picture in your system's image viewer."
JOBS_LIST = (
    "Every job of this machine, whether it was started here or on the command line. Those at work come first."
)
JOB_STOP = "Finish the step (or the tile), save it and stop. The job can be resumed later."
JOB_RESUME = "Go on from the last checkpoint (or the last finished tile), in a process of its own."
JOB_DELETE = "Delete the job: its settings, curves, checkpoints and model. The result of an analysis stays. Asks first."
JOB_FOLDER = "Show the job's folder in the file manager."
JOB_ADD = "Add a job that is not in the list, by its folder."
LOG_AXIS = "Draw the loss on a logarithmic axis: late, small progress becomes visible."
TRAIN_AREA = "The Shapes layer around what you outlined completely: rectangles, ellipses or polygons."
TRAIN_ANNOTATION = (
    "Learn from a layer. Cell types: Labels, Points or Shapes whose features have a column named class or type. "
    "Outlines: a Labels layer with the cells that you drew or corrected. "
    "The job takes what it needs into its folder."
)
TRAIN_MORE = "Settings for a run that is started next."

PAGE_MAP = "Every cell a dot, like cells near each other; linked with the slide."
PAGE_MARKERS = "How bright each marker is in each type."
PAGE_SPREAD = "How a marker, the area or any other column is spread in each type."
PAGE_NEARBY = "Which types live beside which, and whether that is more than chance."
PAGE_CHECK = "The model's types beside your corrections, or other annotations: confusion matrix and scores."
PLOT_CANCEL = "Stop working this out."
PLOT_PICTURE = (
    "Save this plot as PNG or SVG, black on white, as large as it is on the screen (PNG: three times as "
    "fine)."
)
PLOT_NUMBERS = "Save the numbers of this plot as a CSV table."
MAP = (
    "Every dot is a cell, in its colour on the slide; like cells lie near each other. Draw around cells to select them on "
    "the slide, with Shift to add to the selection."
)
MAP_VECTORS = (
    "What 'alike' rests on: the features that the network makes of a cell's picture, or the mean of "
    "every marker."
)
MAP_METHOD = (
    "PCA: at once, distances mean something. UMAP: groups come apart clearly, but sizes and gaps mean little; takes minutes "
    "for many cells."
)
MAP_EMBED = "Let the network look at every cell once; the features are kept in the result's folder."
MAP_KEEP = (
    "Add both coordinates to the table of the cells: colour by them, and they go along in features and "
    "exports."
)
HEAT_VALUES = (
    "z-score: compared with the average of all cells, alike for dim and bright markers. Raw mean: the "
    "file's units."
)
HEAT_ORDER = (
    "Put like types and like markers beside each other (average linkage), instead of the classes' own order."
)
SPREAD_COLUMN = "The column whose values are shown."
SPREAD_SHAPE = "Violins show the whole shape; boxes are easier to compare."
NEIGHBOUR_REACH = "Who is a neighbour: everybody within a distance, or a fixed number of nearest cells."
NEIGHBOUR_RADIUS = "Largest distance between the centres of neighbours."
NEIGHBOUR_NEAREST = "How many nearest cells count as neighbours."
NEIGHBOUR_MATRIX = (
    "Enrichment: are two types beside each other more often than by chance? Per cell: how many "
    "neighbours of each type."
)
NEIGHBOUR_KEEP = (
    "Add every cell's number of neighbours of each type to the table: colour by it, and it goes along in "
    "exports."
)
AGREEMENT_TRUTH = (
    "Whose word is compared with the model's: your corrections and confirmations, or a layer with classes."
)
AGREEMENT_FILE = "Compare with a table (CSV or Parquet) that has columns y, x (pixels) and type."
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
ANNOTATE_TABLE = (
    "cells.csv and cells.parquet of the result follow by themselves: type stays what the model said, type_corrected is what "
    "counts, corrected_by who said so. Exports have the corrected types."
)
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
    "A job learns types from the cells that you corrected or confirmed, and outlines from those that you drew, changed, "
    "split, merged or deleted. Some are held out by place; on those the model is compared before and after. It runs on when "
    "napari is closed, and nothing changes until you accept."
)
IMPROVE_TAKE = (
    "Types and outlines are two networks: take either, or both. Ticked is what improved on the held-out part."
)
IMPROVE_OUTLINE_TABLE = (
    "F1 weighs cells that are missed against false ones; a cell counts as found where it shares at least half of the joint "
    "area with yours (IoU 0.5). Overlap: mean IoU of the held-out outlines that you corrected with what the model finds."
)
IMPROVE_ENCODER = (
    "Else only the last layer learns types, within a minute or two, and the transformer stays as it is for outlines. The "
    "whole network can learn new looks, takes longer, and may forget more of other slides."
)
IMPROVE_PSEUDO = (
    "Also take cells that nobody looked at but of which the model is sure. On a slide on which it is wrong and sure, this "
    "makes things worse."
)
IMPROVE_CANCEL = "Stop it. Models and cells stay as they are."
IMPROVE_TABLE = (
    "Of the held-out cells of each class, the share that the model tells as you do, before and after."
)
IMPROVE_NAME = "Name of the improved model on the shelf. The model that it comes from stays there, too."
IMPROVE_ANEW = (
    "With the improved model, give the cells of this slide that nobody reviewed their types anew. Outlines and your own "
    "types stay, and Undo takes it back."
)
IMPROVE_ACCEPT = "Put the improved model on the shelf and choose it."
IMPROVE_DISCARD = "Delete the job with its model. Nothing else changes."

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
