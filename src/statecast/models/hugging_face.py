"""Files of a Hugging Face model: where they are, what is refused, its configuration, tokenizer or image processor, and its weights.

Only weights in safetensors are read, and no code that comes with a model is run.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from statecast.documents import LARGEST_JSON, DocumentError, parse_json, read_text
from statecast.messages import one_line, quoted

PREFIX = "hf:"
FETCHED = ("*.json", "*.txt", "*.model", "*.safetensors")
"""Of a model on the Hub: everything but pickles, code and weights of other frameworks."""
COMPANIONS = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "preprocessor_config.json",
)
"""Files of a tokenizer or an image processor."""
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model")
MAY_BE_NEW = ("pooler", "hidden_states_norms")
"""Weights that a checkpoint may lack: of a summary, which we don't read, and norms that a backbone has at its outputs."""
MOST_STAGES = (
    5  # of a backbone whose features are all read: convolutions have four or five, transformers one for each layer
)


NO_LIMIT = 10**9  # tokens of a sequence


class EncoderError(ValueError):
    """A Hugging Face model that is not there, is refused, or can't read the streams."""


@dataclass(frozen=True)
class EncoderFiles:
    """A Hugging Face model without its weights.

    name        as the recipe gives it
    directory   where its files lie
    config      of transformers
    companions  contents of the files of its tokenizer or image processor, by name
    mask, pad   codes of the tokenizer's mask and padding, if it has them
    words       the tokenizer's categories, in the order of their codes; none without a tokenizer
    longest     number of tokens that a sequence may have
    """

    name: str
    directory: Path
    config: Any
    companions: Mapping[str, bytes]
    mask: int | None = None
    pad: int | None = None
    words: tuple[str, ...] = ()
    longest: int = NO_LIMIT

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Of the image processor, such as `image_mean` and `image_std`; empty without one."""
        text = self.companions.get("preprocessor_config.json", b"{}")
        return json.loads(text)

    def blank_model(self) -> nn.Module:
        """The model with random weights, or without any on the device `meta`."""
        import transformers

        with _of_their_errors(self.name):
            auto = transformers.AutoBackbone if _is_backbone(self.config) else transformers.AutoModel
            return auto.from_config(self.config, trust_remote_code=False)

    def trained_model(self) -> nn.Module:
        """The model with its weights. Raises EncoderError if there are none in safetensors, or if some are missing."""
        import transformers

        require_safe_weights(self.name, self.directory)
        auto = transformers.AutoBackbone if _is_backbone(self.config) else transformers.AutoModel
        with _of_their_errors(self.name), _silent():
            model, report = auto.from_pretrained(
                self.directory,
                config=self.config,
                dtype="float32",
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
        lacking = [name for name in sorted(report["missing_keys"]) if not any(part in name for part in MAY_BE_NEW)]
        if lacking:
            raise EncoderError(
                f"encoder {self.name}: its weights lack {quoted(lacking[0])} and {len(lacking) - 1} more. Copy it again."
            )
        return model

    def require_categories(self, stream: str, categories: Sequence[str]) -> None:
        """Raises EncoderError for codes that mean other words than the tokenizer's, which would silently be misread."""
        if not self.words:
            return
        for code, (own, theirs) in enumerate(zip(categories, self.words, strict=False)):
            if own != theirs:
                raise EncoderError(
                    f"encoder {self.name}: its code {code} is {quoted(theirs)}, that of stream {stream} is {quoted(own)}. Give the stream "
                    "the encoder's tokenizer."
                )

    def save(self, directory: Path) -> None:
        """Write all but the weights, as transformers reads them."""
        self.config.save_pretrained(directory)
        for name, content in self.companions.items():
            (directory / name).write_bytes(content)


def causal_model(name: str) -> tuple[nn.Module, Any]:
    """A language model that reads forward, with its weights, and its tokenizer. Raises EncoderError as `encoder_files` does."""
    directory = locate(name)
    config = _config(name, directory)
    require_safe_weights(name, directory)
    transformers = _transformers(name)
    with _of_their_errors(name), _silent():
        model = transformers.AutoModelForCausalLM.from_pretrained(
            directory,
            config=config,
            dtype="float32",
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    return model.eval(), load_tokenizer(name, directory)


def encoder_files(encoder: str) -> EncoderFiles:
    """The model that `hf:PATH_OR_ID` names.

    Raises EncoderError if it is not there, needs code of its own, has both an encoder and a decoder, or if transformers is missing.
    """
    directory = locate(encoder)
    config = _config(encoder, directory)
    companions = {name: (directory / name).read_bytes() for name in COMPANIONS if (directory / name).is_file()}
    longest = getattr(config, "max_position_embeddings", None) or NO_LIMIT
    files = EncoderFiles(encoder, directory, config, companions, longest=longest)
    if not any(name in companions for name in TOKENIZERS):
        return files
    tokenizer = load_tokenizer(encoder, directory)
    words = tuple(str(word) for word in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    return replace(
        files,
        mask=tokenizer.mask_token_id,
        pad=tokenizer.pad_token_id,
        words=words,
        longest=min(longest, tokenizer.model_max_length),
    )


def locate(encoder: str) -> Path:
    """The directory of a model, fetched from the Hub if it is no directory. Raises EncoderError if there is none."""
    from huggingface_hub import snapshot_download

    name = encoder.removeprefix(PREFIX)
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise EncoderError(
            f"encoder {encoder}: is no directory. Give one with a config.json, or the name of a model on the Hub."
        )
    try:
        return Path(snapshot_download(name, allow_patterns=list(FETCHED)))
    except Exception as error:  # the errors of the Hub's client have no common base class
        raise EncoderError(
            f"encoder {encoder}: is no directory and could not be fetched from the Hub ({type(error).__name__}). Give its directory."
        ) from error


def require_safe_weights(encoder: str, directory: Path) -> None:
    """Raises EncoderError unless there are weights in safetensors."""
    if any(directory.glob("*.safetensors")):
        return
    pickles = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for path in directory.glob(pattern))
    found = f"only {pickles[0]}, a pickle, which can run code when it is read" if pickles else "none"
    raise EncoderError(
        f"encoder {encoder}: has no weights in safetensors ({found}). Convert it with `save_pretrained` of transformers, "
        "where you trust it, or choose another model."
    )


def load_tokenizer(encoder: str, directory: Path) -> Any:
    """The tokenizer of a directory, of transformers."""
    transformers = _transformers(encoder)
    with _of_their_errors(encoder), _silent():
        return transformers.AutoTokenizer.from_pretrained(directory, trust_remote_code=False, local_files_only=True)


def _config(encoder: str, directory: Path) -> Any:
    transformers = _transformers(encoder)
    try:
        values = parse_json(read_text(directory / "config.json", LARGEST_JSON))
    except DocumentError as error:
        raise EncoderError(
            f"encoder {encoder}: config.json {error}. Give the directory of a model of transformers."
        ) from None
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in transformers.CONFIG_MAPPING:
        comes_with = ", and the code that comes with it (auto_map) is not run" if "auto_map" in str(values) else ""
        raise EncoderError(
            f"encoder {encoder}: transformers {transformers.__version__} has no code for its kind {quoted(kind)}{comes_with}. "
            "Choose another model."
        )
    with _of_their_errors(encoder):
        config = transformers.AutoConfig.from_pretrained(directory, trust_remote_code=False, local_files_only=True)
    if config.is_encoder_decoder:
        raise EncoderError(
            f"encoder {encoder}: has an encoder and a decoder, expected a model that returns `last_hidden_state`. Choose another model."
        )
    if _is_backbone(config) and len(config.stage_names) - 1 <= MOST_STAGES and "out_features" not in values:
        config.out_features = config.stage_names[1:]
    return config


def _is_backbone(config: Any) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_BACKBONE_MAPPING_NAMES

    return config.model_type in MODEL_FOR_BACKBONE_MAPPING_NAMES


def _transformers(encoder: str) -> Any:
    try:
        import transformers
    except ModuleNotFoundError:
        raise EncoderError(
            f"encoder {encoder}: needs the package transformers. Install it with `pip install 'statecast[text]'`."
        ) from None
    return transformers


@contextmanager
def _of_their_errors(encoder: str) -> Iterator[None]:
    """What transformers raises as one line."""
    try:
        yield
    except EncoderError:
        raise
    except Exception as error:  # transformers has no base class of its errors
        raise EncoderError(
            f"encoder {encoder}: can't be read by transformers ({one_line(error)}). Copy it again, or choose another."
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    """Without the progress bars and remarks of transformers, which are as before afterwards.

    While it loads, transformers 5 replaces torch.linspace. Torch notes the functions that make tensors when a device is first chosen; it
    would note the wrong one for good, and models could no longer be built on `meta`.
    """
    from transformers.utils import logging

    with torch.device("cpu"):
        torch.empty(0)
    had_bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()
