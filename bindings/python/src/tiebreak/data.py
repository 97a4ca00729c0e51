"""Data sets of labelled images."""

from __future__ import annotations

import ctypes as c
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from . import _abi
from ._handle import Handle
from ._library import lib
from ._record import Properties, filled, options, text
from .array import Array, Labels, byte_pointer, shape4
from .array import labels as label_pointer
from .progress import Progress, listening
from .status import Error, Status
from .tensor import Tensor, view_mut


@dataclass(frozen=True)
class DatasetProperties(Properties):
    """What a data set is."""

    count: int
    """Number of images."""
    classes: int
    """Number of classes."""
    shape: tuple[int, int, int]
    """`[C, H, W]` of an image."""
    name: str
    fingerprint: int
    """CRC-32 of pixels, labels and normalisation: tells two data sets of one name apart."""
    mean: tuple[float, ...]
    """What batches subtract from pixels of 0 to 1, of the first four channels."""
    std: tuple[float, ...]
    """What batches then divide by, of the first four channels."""


@dataclass(frozen=True)
class Augmentation:
    """Random changes of training images, as torchvision's RandomResizedCrop, RandomCrop with padding and
    RandomHorizontalFlip, in this order.

    What happens to an image depends on seed, epoch and its index alone.
    """

    crop_padding: int = 0
    """Black pixels added on each side before a part of the image's size is cut out, below height and width."""
    horizontal_flip: bool = False
    """Mirrors every second image, drawn at random."""
    seed: int = 0
    epoch: int = 0
    """Other draws in each."""
    resized_crop: bool = False
    """Takes a random rectangle of the image, resized to the size of the data set's images."""
    scale: tuple[float, float] = (0.08, 1.0)
    """Of `resized_crop`: least and largest share of the area, in (0, 1], uniform between them."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Of `resized_crop`: least and largest ratio of width to height, above 0, its logarithm uniform."""

    def _struct(self) -> Any:
        struct = options(_abi.tb_augmentation, "augmentation")
        struct.crop_padding, struct.horizontal_flip = self.crop_padding, self.horizontal_flip
        struct.seed, struct.epoch, struct.resized_crop = self.seed, self.epoch, self.resized_crop
        struct.scale[:], struct.ratio[:] = self.scale, self.ratio
        return struct


class Dataset(Handle):
    """Labelled images, 8 bits a channel, in host memory, or photos whose files each batch reads. It never changes."""

    _kind = "dataset"

    def __init__(self, name: str, images: Array, labels: Labels, classes: int) -> None:
        """A data set of the caller's images, which are copied; batches of it have mean 0.5 and standard deviation 0.5.

        Args:
            name: what `info` calls it
            images: uint8 `[N, C, H, W]`
            labels: N class numbers
            classes: number of classes, at most 65536
        """
        n, *shape = shape4("images", images)
        pixels = byte_pointer("images", images)
        numbers, count = label_pointer(labels)
        if count != n:
            raise Error(Status.SHAPE_MISMATCH, f"labels: expected {n} class numbers, got {count}")
        super().__init__(
            lib.dataset_create, text(name), pixels, (c.c_int64 * 3)(*shape), numbers, count, classes
        )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        image_size: int = 224,
        limit_per_class: int = 0,
        limit: int = 0,
        resize: int = 0,
        from_files: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Dataset, Dataset]:
        """Reads whichever data set a folder holds: MNIST or Fashion-MNIST (IDX; told by `fashion` in the name of the
        folder or of the one that it is in), CIFAR-10's binary version, SVHN (`*_32x32.mat`; trains on `extra`, or
        `train` where that is not there), or photos (JPEG, PNG) in one folder per class below `train` and `val` or
        `test`.

        Args:
            path: the folder
            image_size: photos: height and width of the images, 1 to 65535
            limit_per_class: photos: takes the first so many of each class, by file name; 0 takes all
            limit: keeps the first so many images of each part; 0 keeps all
            resize: photos: what the shorter side becomes before the centre is cut out, at least `image_size`; 0:
                `image_size`
            from_files: photos: reads the files anew for each batch, instead of all of them once into memory; a
                `resized_crop` then cuts from the whole photo instead of the centre that is in memory
            progress: hears of files read

        Returns:
            the training part, and the test or validation part

        Raises:
            Error: `Status.IO`, `Status.FORMAT`, `Status.CANCELLED`
        """
        choice = options(_abi.tb_dataset_options, "dataset_options")
        choice.image_size, choice.limit_per_class, choice.limit = image_size, limit_per_class, limit
        choice.resize, choice.from_files = resize, from_files
        train, test = c.c_void_p(), c.c_void_p()
        try:
            with listening(progress) as hear:
                lib.dataset_open(text(os.fspath(path)), choice, hear, None, c.byref(train), c.byref(test))
        finally:
            parts = cls._adopt(train), cls._adopt(test)
        return parts

    @classmethod
    def digits(cls, count: int, seed: int, *, progress: Progress | None = None) -> Dataset:
        """Draws digits `[1, 28, 28]`, a stand-in for MNIST that needs no file. Image i depends on the seed and i alone;
        take disjoint seeds for training and testing.

        Args:
            count: number of images
            seed: seed
            progress: hears of images drawn
        """
        digits = cls.__new__(cls)
        with listening(progress) as hear:
            Handle.__init__(digits, lib.dataset_digits, count, seed, hear, None)
        return digits

    @classmethod
    def shapes(cls, count: int, seed: int, *, progress: Progress | None = None) -> Dataset:
        """Draws coloured shapes `[3, 32, 32]` of ten classes, a stand-in for CIFAR-10 that needs no file. Image i
        depends on the seed and i alone; take disjoint seeds for training and testing.

        Args:
            count: number of images
            seed: seed
            progress: hears of images drawn
        """
        shapes = cls.__new__(cls)
        with listening(progress) as hear:
            Handle.__init__(shapes, lib.dataset_shapes, count, seed, hear, None)
        return shapes

    @property
    def info(self) -> DatasetProperties:
        """What it is."""
        return DatasetProperties._of(filled(_abi.tb_dataset_properties, lib.dataset_info, self))

    def __len__(self) -> int:
        return self.info.count

    def order(self, seed: int, epoch: int) -> npt.NDArray[np.uintp]:
        """The order of an epoch: a permutation of all indices that depends on their number, seed and epoch alone.
        Mini-batches are its pieces."""
        indices = np.empty(len(self), np.uintp)
        pointer = indices.ctypes.data_as(c.POINTER(c.c_size_t))
        lib.dataset_order(self, seed, epoch, pointer, len(indices))
        return indices

    def batch(
        self,
        indices: npt.ArrayLike,
        dtype: npt.DTypeLike = np.float32,
        *,
        augmentation: Augmentation | None = None,
        x: Array | Tensor | None = None,
    ) -> tuple[Any, npt.NDArray[np.int64]]:
        """Images as a batch: each channel (v / 255 - mean) / std, rounded once, and their labels.

        Args:
            indices: which, N numbers
            dtype: of x where that is not given
            augmentation: None: the images as they are
            x: out: `[N, C, H, W]`, float16, float32 or float64

        Returns:
            x, and the labels `[N]`
        """
        chosen = np.ascontiguousarray(indices)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu") or (chosen < 0).any():
            raise Error(Status.INVALID_ARGUMENT, f"indices: expected N numbers from 0, got {indices!r}")
        chosen = chosen.astype(np.uintp)
        x = np.empty((chosen.size, *self.info.shape), dtype) if x is None else x
        labels = np.empty(chosen.size, np.int64)
        lib.dataset_batch(
            self,
            chosen.ctypes.data_as(c.POINTER(c.c_size_t)),
            chosen.size,
            augmentation and augmentation._struct(),
            view_mut("x", x),
            labels.ctypes.data_as(c.POINTER(c.c_int64)),
        )
        return x, labels
