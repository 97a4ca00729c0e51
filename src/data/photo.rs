//! One photo: decoded, cut and resized to planes of pixels.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::imageops::{self, FilterType};
use image::{
    DynamicImage, GenericImageView, ImageBuffer, ImageDecoder, ImageFormat, ImageReader, ImageResult, Limits,
    Luma, RgbImage,
};

use super::augmentation::Area;
use super::file::format_error;
use crate::error::{Error, Result};

/// Largest side of an image, as in JPEG.
pub(super) const MAX_SIDE: usize = 65_535;

/// Decodes a JPEG or PNG file, whatever its name. Grey becomes RGB, transparency is dropped, 16 bits become 8.
pub(super) fn read(path: &Path) -> Result<RgbImage> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
    // By content: ImageNet has a PNG that is named .JPEG.
    let format = image::guess_format(&bytes).map_err(|e| format_error(path, format!("byte 0: {e}")))?;
    if format == ImageFormat::Jpeg && is_cut(&bytes) {
        let message = format!("ends at byte {}, within its JPEG data", bytes.len());
        return Err(format_error(path, message));
    }
    let mut reader = Cursor::new(bytes.as_slice());
    let image = decode(ImageReader::with_format(&mut reader, format), most_pixels(format, bytes.len()));
    match image.map_err(|e| format_error(path, format!("before byte {}: {e}", reader.position())))? {
        Ok(image) => Ok(image.into_rgb8()),
        Err((width, height)) => {
            let message = format!("{width}x{height} pixels cannot be in {} bytes", bytes.len());
            Err(format_error(path, message))
        }
    }
}

/// Pixels that a file of `len` bytes can hold at most: more must not be believed, nor given memory.
fn most_pixels(format: ImageFormat, len: usize) -> u64 {
    let per_byte = match format {
        // A bit for each block of 8x8.
        ImageFormat::Jpeg => 8 * 64,
        // A bit for each pixel, packed as well as DEFLATE can.
        _ => 8 * 1032,
    };
    len as u64 * per_byte
}

/// As [`image::load_from_memory`] does, which keeps to the default limit of memory; (width, height) where these promise
/// more than so many pixels.
fn decode(
    reader: ImageReader<&mut Cursor<&[u8]>>,
    most_pixels: u64,
) -> ImageResult<std::result::Result<DynamicImage, (u32, u32)>> {
    let decoder = reader.into_decoder()?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > most_pixels {
        return Ok(Err((width, height)));
    }
    Limits::default().reserve(decoder.total_bytes())?;
    DynamicImage::from_decoder(decoder).map(Ok)
}

/// Resizes the photo of `path` so that its shorter side is `resize`, and cuts `[3, size, size]` out of its centre.
pub(super) fn centre(path: &Path, photo: &RgbImage, resize: usize, size: usize, to: &mut [u8]) -> Result<()> {
    let sides = [photo.width(), photo.height()].map(|side| side as usize);
    let shorter = sides[0].min(sides[1]);
    let resized = sides.map(|side| resize * side / shorter);
    if resized.iter().any(|&side| side > MAX_SIDE) {
        let message = format!("{}x{} is too long and narrow to resize", sides[0], sides[1]);
        return Err(format_error(path, message));
    }
    let photo = imageops::resize(photo, resized[0] as u32, resized[1] as u32, FilterType::Triangle);
    // Half a pixel goes to the even side, as Python's `round` has it.
    let [left, top] = resized.map(|side| ((side - size) as f64 / 2.0).round_ties_even() as u32);
    let crop = imageops::crop_imm(&photo, left, top, size as u32, size as u32);
    planes(crop.pixels().map(|(_, _, pixel)| pixel.0), to);
    Ok(())
}

/// Resizes an area of the photo to `[3, size, size]`.
pub(super) fn resized_area(photo: &RgbImage, area: Area, size: usize, to: &mut [u8]) {
    let crop = imageops::crop_imm(photo, area.left, area.top, area.width, area.height);
    let resized = imageops::resize(&*crop, size as u32, size as u32, FilterType::Triangle);
    planes(resized.pixels().map(|pixel| pixel.0), to);
}

/// Resizes an area of each plane of `image` `[C, H, W]` to all of it.
pub(super) fn resized_area_of_planes(image: &[u8], [_, h, w]: [usize; 3], area: Area, to: &mut [u8]) {
    for (to, plane) in to.chunks_exact_mut(h * w).zip(image.chunks_exact(h * w)) {
        let plane: ImageBuffer<Luma<u8>, &[u8]> =
            ImageBuffer::from_raw(w as u32, h as u32, plane).expect("H W pixels");
        let crop = imageops::crop_imm(&plane, area.left, area.top, area.width, area.height);
        to.copy_from_slice(&imageops::resize(&*crop, w as u32, h as u32, FilterType::Triangle));
    }
}

/// From pixels to red, green, blue.
fn planes(pixels: impl Iterator<Item = [u8; 3]>, to: &mut [u8]) {
    let plane = to.len() / 3;
    for (i, pixel) in pixels.enumerate() {
        for (channel, value) in pixel.into_iter().enumerate() {
            to[channel * plane + i] = value;
        }
    }
}

/// Whether a JPEG file ends before its end mark, which the decoder forgives and fills with grey.
fn is_cut(jpeg: &[u8]) -> bool {
    let mut rest = jpeg.get(2..); // after the start mark
    while let Some(bytes) = rest {
        // Stuffed zeros, fill bytes and restarts belong to the data of a scan.
        let is_mark = |b: &[u8]| b[0] == 0xff && !matches!(b[1], 0 | 0xff | 0xd0..=0xd7);
        let Some(at) = bytes.windows(2).position(is_mark) else { break };
        let segment = &bytes[at + 2..];
        match (bytes[at + 1], segment) {
            (0xd9, _) => return false,
            (_, [high, low, ..]) => rest = segment.get(u16::from_be_bytes([*high, *low]) as usize..),
            _ => break,
        }
    }
    true
}
