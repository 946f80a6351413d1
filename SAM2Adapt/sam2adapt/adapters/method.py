"""The base class of the adaptation methods, and their creation by name."""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields
from types import NoneType, UnionType
from typing import ClassVar, get_args, get_origin, get_type_hints

from torch import Tensor

from ..network.network import Prompts, SegmentationNetwork
from ..shared.errors import SettingsError

KeepOn = Callable[[float], bool]

_LARGEST = 1 << 20  # of numbers in settings; a NaN is not below it either
_WORDS = {
    int: "a whole number", float: "a number", bool: "true or false", str: "a word", tuple: "a list", NoneType: "null",
}  # fmt: skip


def always(share: float) -> bool:
    """Keep on to the end."""
    return True


@dataclass(frozen=True)
class Method:
    """An adaptation method and its settings (the dataclass fields, stored in the bundle).

    Every method implements ``apply`` and ``export``; the other functions have defaults that fit most methods.
    """

    name: ClassVar[str]
    summary: ClassVar[str]

    @classmethod
    def setting_names(cls) -> list[str]:
        """Names of the settings that the method takes."""
        return [field.name for field in fields(cls)]

    def settings(self) -> dict:
        """All settings, including defaults, as plain data."""
        return asdict(self)

    def apply(self, network: SegmentationNetwork) -> None:
        """Put the modules of the method into the network, in place; this must not change the output yet."""
        raise NotImplementedError

    def export(self, network: SegmentationNetwork) -> None:
        """Merge and fuse the modules of the method for prediction, in place and exactly."""
        raise NotImplementedError

    def loss_weights(self) -> dict[str, float]:
        """Default weights of the terms of ``training.losses.SegmentationLoss`` for this method."""
        return {"ce": 1.0, "dice": 1.0}

    def draw_prompts(self, targets: Tensor) -> list[Prompts] | None:
        """Draw prompts for the images of a training batch; None: the method trains without prompts.

        :param targets: class indices (B, H, W), ``IGNORE`` where not annotated.
        """
        return None

    def auxiliary_loss(self, extras: dict[str, Tensor], targets: Tensor, fraction: float) -> Tensor | float:
        """A loss that the method adds to the segmentation loss.

        :param extras: the dictionary that ``SegmentationNetwork.forward_with_extras`` returned.
        :param targets: class indices (B, H, W), ``IGNORE`` where not annotated.
        :param fraction: share of the run that is done.
        """
        return 0.0

    def initialise(self, network: SegmentationNetwork, batches: Iterable[Tensor], keep_on: KeepOn = always) -> None:
        """Initialise the modules of the method from images without labels, before a training from the base begins.

        :param batches: normalised training images (B, 3, H, W) on the network's device.
        :param keep_on: called after every step with the share that is done; if it returns false, stop.
        """


#: All methods by name; the package fills it, and ``combined`` creates its parts from it.
METHODS: dict[str, type[Method]] = {}


def create(name: str, settings: dict | None = None) -> Method:
    """Create a method by its name, with settings that differ from its defaults.

    :raises SettingsError: the method or one of the settings does not exist.
    """
    if name not in METHODS:
        raise SettingsError(f"There is no method '{name}'.", f"Choose one of: {', '.join(METHODS)}.")
    if not isinstance(settings, dict | None):
        raise SettingsError(f"The settings of method '{name}' are {settings!r}.", "Give names and values.")
    for key, value in (settings or {}).items():
        _check_value(name, key, value)
    try:
        return METHODS[name](**(settings or {}))
    except (TypeError, OverflowError) as error:
        known = ", ".join(METHODS[name].setting_names())
        raise SettingsError(f"Method '{name}' does not take these settings: {error}.", f"It has: {known}.") from error


def _check_value(method: str, key: str, value: object) -> None:
    """Refuse a value of another type than the setting has, and numbers that no network can have.

    :raises SettingsError: it is one.
    """
    kinds = get_type_hints(METHODS[method]).get(key)
    if kinds is None:
        return  # no such setting, which is said of all together
    allowed = get_args(kinds) if isinstance(kinds, UnionType) else (kinds,)
    if any(_is_a(value, kind) for kind in allowed):
        return
    words = " or ".join(_WORDS.get(get_origin(kind) or kind, str(kind)) for kind in allowed)
    raise SettingsError(
        f"Setting '{key}' of method '{method}' cannot be {str(value)[:60]!r}.", f"Give {words}.", setting="settings"
    )


def _is_a(value: object, kind: type) -> bool:
    if kind is float or kind is int:
        number = isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
        return number and abs(value) <= _LARGEST
    if get_origin(kind) is tuple:
        return isinstance(value, list | tuple | str)
    return isinstance(value, kind)
