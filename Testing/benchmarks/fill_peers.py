"""What fills slices today: Slicer's two tools, interpolated distances, and a pixel classifier without a network."""

import time
from pathlib import Path

import numpy as np
from fill_cases import FillCase
from sam2adapt.filling.drawings import drawings_from_labels
from sam2adapt.filling.filler import START, Filler, Filling
from sam2adapt.filling.grey import pixel_features, scale_grey
from sam2adapt.filling.opinions.shape import interpolated, signed_distance
from sam2adapt.filling.plane_grid import make_grid
from sam2adapt.shared.labels.annotation import IGNORE
from scipy import ndimage


def sparse(case: FillCase, drawn: list[int]) -> np.ndarray:
    """The truth in the drawn slices, 255 elsewhere."""
    labels = np.full(case.truth.shape, IGNORE, np.uint8)
    np.moveaxis(labels, case.axis, 0)[drawn] = np.moveaxis(case.truth, case.axis, 0)[drawn]
    return labels


def ours(case: FillCase, drawn: list[int], start: Path = START) -> tuple[np.ndarray, Filling]:
    """This project's, with what it expects of itself."""
    names = {value: str(value) for value in case.values}
    filling = Filler(case.volume, start=start).fill(drawings_from_labels(sparse(case, drawn), names))
    return labels_of(case, filling), filling


def labels_of(case: FillCase, filling: Filling) -> np.ndarray:
    """A filling as labels (K, J, I)."""
    labels = np.zeros_like(case.truth)
    for value, mask in zip(case.values, filling.masks, strict=True):
        labels[mask] = value
    return labels


def distances(case: FillCase, drawn: list[int]) -> np.ndarray:
    """Signed distances of neighbouring drawn slices, interpolated by the place between them."""
    truth = np.moveaxis(case.truth, case.axis, 0)
    labels = np.zeros_like(truth)
    known = [{k: signed_distance(truth[k] == value) for k in drawn} for value in case.values]
    for place in range(drawn[0], drawn[-1] + 1):
        if place not in drawn:
            maps = np.stack([interpolated(own, place) for own in known])
            labels[place] = np.where(maps.max(0) > 0, np.array(case.values, np.uint8)[maps.argmax(0)], 0)
    return _with_drawn(case, labels, drawn)


def fill_between_slices(case: FillCase, drawn: list[int]) -> np.ndarray:
    """Slicer's effect of that name."""
    import slicer_tools

    return slicer_tools.fill_between_slices(sparse(case, drawn), case.axis, case.volume.spacing)


def grow_from_seeds(case: FillCase, drawn: list[int]) -> np.ndarray:
    """Slicer's effect of that name."""
    import slicer_tools

    return slicer_tools.grow_from_seeds(case.volume.array[0], sparse(case, drawn), case.axis, case.volume.spacing)


def prototype(case: FillCase, drawn: list[int]) -> np.ndarray:
    """scikit-learn's gradient boosting on grey levels and interpolated distances, those of the drawn slices from the
    other ones."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    whole = np.moveaxis(case.truth, case.axis, 0)
    box = (slice(None), *make_grid((whole[drawn] > 0).any(0), (1.0, 1.0)).box)
    images = np.ascontiguousarray(np.moveaxis(scale_grey(case.volume.array[0]), case.axis, 0)[box])
    truth = whole[box]
    known = [{k: signed_distance(truth[k] == value) for k in drawn} for value in case.values]

    def inputs(place: int) -> np.ndarray:
        maps = []
        for own in known:
            others = {k: map_ for k, map_ in own.items() if k != place}
            between = interpolated(others, place)
            maps.append(others[min(others, key=lambda k: abs(k - place))] if between is None else between)
        return np.concatenate([pixel_features(images, place), maps]).reshape(-1, images[0].size).T

    random = np.random.default_rng(0)
    x, y = np.concatenate([inputs(k) for k in drawn]), np.concatenate([truth[k].ravel() for k in drawn])
    chosen = random.random(len(x)) < 60_000 / len(x)
    # Without regularisation, rare classes make it diverge in some volumes.
    model = HistGradientBoostingClassifier(max_iter=120, l2_regularization=1.0, early_stopping=False, random_state=0)
    model.fit(x[chosen], y[chosen])
    labels = np.zeros_like(whole)
    for place in range(drawn[0], drawn[-1] + 1):
        if place not in drawn:
            shares = model.predict_proba(inputs(place)).T.reshape(-1, *images.shape[1:])
            labels[place][box[1:]] = model.classes_[ndimage.gaussian_filter(shares, (0, 1, 1)).argmax(0)]
    return _with_drawn(case, labels, drawn)


def network(case: FillCase, drawn: list[int]) -> np.ndarray:
    """MONAI's BasicUNet in two dimensions, trained on the drawn slices for as many CPU seconds as ours takes."""
    import torch
    from monai.networks.nets import BasicUNet
    from torch.nn import functional as F

    started = time.process_time()
    ours(case, drawn)
    seconds = time.process_time() - started
    whole = np.moveaxis(case.truth, case.axis, 0)
    box = make_grid((whole[drawn] > 0).any(0), (1.0, 1.0)).box
    images = np.moveaxis(scale_grey(case.volume.array[0]), case.axis, 0)[(slice(None), *box)]
    classes = np.searchsorted([0, *case.values], whole[(slice(None), *box)])
    height, width = images.shape[1:]
    padding = (0, -width % 16, 0, -height % 16)
    x = F.pad(torch.from_numpy(np.ascontiguousarray(images))[:, None], padding, mode="replicate")
    y = F.pad(torch.from_numpy(classes.astype(np.int64)), padding)
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    model = BasicUNet(2, 1, len(case.values) + 1, (16, 16, 32, 64, 128, 16))
    optimiser = torch.optim.AdamW(model.parameters(), 3e-3)
    started = time.process_time()
    while time.process_time() - started < seconds:
        chosen = torch.from_numpy(random.choice(drawn, min(4, len(drawn)), replace=False))
        flips = [axis for axis in (-2, -1) if random.random() < 0.5]
        loss = F.cross_entropy(model(x[chosen].flip(flips)), y[chosen].flip(flips))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    labels = np.zeros_like(whole)
    with torch.no_grad():
        for place in range(drawn[0], drawn[-1] + 1):
            said = model(x[place : place + 1]).argmax(1)[0, :height, :width].numpy()
            labels[place][box] = np.array([0, *case.values], np.uint8)[said]
    return _with_drawn(case, labels, drawn)


PEERS = {
    "distances": distances,
    "between": fill_between_slices,
    "grow": grow_from_seeds,
    "prototype": prototype,
    "network": network,
}


def _with_drawn(case: FillCase, labels: np.ndarray, drawn: list[int]) -> np.ndarray:
    """Labels (slices first) as (K, J, I), drawn slices as they were drawn."""
    labels[drawn] = np.moveaxis(case.truth, case.axis, 0)[drawn]
    return np.moveaxis(labels, 0, case.axis)
