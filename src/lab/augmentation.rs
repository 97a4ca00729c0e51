//! How the published code changes training images.

use crate::data::{Augmentation, Dataset};

/// Colour images are cut out of a border of 4 pixels, and mirrored; others stay as they are.
pub fn published_augmentation(images: &Dataset) -> Augmentation {
    match images.shape[0] {
        1 => Augmentation::default(),
        _ => Augmentation { crop_padding: 4, horizontal_flip: true, ..Default::default() },
    }
}
