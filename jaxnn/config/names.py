"""The names that a config may choose from; a test holds them against the tables of functions."""

ACTIVATIONS = (
    "elu", "gelu", "identity", "leaky_relu", "log_softmax", "logistic", "logit", "maxout", "relu", "selu", "sigmoid",
    "silu", "softmax", "softplus", "tanh",
)  # fmt: skip
INITIALISERS = ("auto", "glorot", "he", "lecun", "orthogonal")
MODELS = ("cnn", "detector", "linear", "mlp", "resnet", "unet")
NORMS = ("batch", "group")
TASKS = (
    "auto", "binary", "detection", "flow_matching", "multiclass", "multilabel", "regression", "segmentation", "vae",
)  # fmt: skip
GENERATIVE = ("flow_matching", "vae")  # tasks that have the class of an image as input, not as output
DECODED = ("vae",)  # those whose model is asked for its decoder alone, too
PICTURED = ("detection", "segmentation")  # kinds of labels that lie in the image
LOSSES = ("auto", "absolute", "cross_entropy", "gaussian", "huber", "poisson", "quantile", "squared")
METRICS = ("auc", "balanced_accuracy", "macro_f1", "top_5")  # top_K for any K
UNKNOWN = ("ignore", "refuse")
KERAS_MODEL = "model.keras"  # in the folder of a run: its network, where that was made with jaxnn.keras
LOGS = {"mlflow": "mlflow", "tensorboard": "tensorboardX", "wandb": "wandb"}  # loggers, and their packages
WEIGHTS = ("best", "last")
EXPORTS: dict[str, tuple[str, ...]] = {  # formats of a trained network, and their files
    "numpy": ("predict_numpy.py", "weights.npz"), "onnx": ("model.onnx",), "safetensors": ("model.safetensors",),
    "stablehlo": ("model.stablehlo",),
}  # fmt: skip
EXPORTED: frozenset[str] = frozenset(name for names in EXPORTS.values() for name in names)
DTYPES = ("bf16", "f32")
AXES = ("data", "model")  # of a mesh of devices: rows of a batch, parameters
SHARDINGS = ("fsdp", "replicate")
LAYOUTS = ("coco", "masks", "voc", "yolo")  # formats of images with boxes or masks
REPORTS = ("html", "off")
RESIZES = ("fill", "fit", "stretch")
FEEDS = ("auto", "resident", "stream")  # whether the rows are in memory or on the disk
COLORS = ("grey", "rgb")
IMPUTED = ("category", "mean", "median")
NANS = (*IMPUTED, "drop", "refuse")
SCHEDULES = ("constant", "cosine", "inverse_scaling", "one_cycle", "plateau", "step")
# optimizer -> its default learning rate; each is one call of the optax function of that name
OPTIMIZERS = {
    "adabelief": 1e-3, "adadelta": 1.0, "adagrad": 1e-1, "adam": 1e-3, "adamax": 2e-3, "adamaxw": 2e-3, "adamw": 1e-3,
    "adan": 1e-3, "amsgrad": 1e-3, "dadapt_adamw": 1.0, "lars": 1.0, "lbfgs": 1.0, "lion": 1e-3, "muon": 1e-2,
    "nadam": 1e-3, "nadamw": 1e-3, "novograd": 1e-2, "prodigy": 1.0, "rmsprop": 1e-3, "sgd": 1e-1,
    "sign_sgd": 1e-3, "sm3": 1e-1, "yogi": 1e-2,
}  # fmt: skip
# What pandas.read_csv takes for missing, and "?".
MISSING = (
    "?", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NAN", "NULL", "NaN", "None", "n/a", "nan", "null",
)  # fmt: skip
