//! MAT-files of version 5, written for tests.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// An element of a MAT-file: type, size, contents, filled up to 8 bytes.
pub fn element(kind: u32, contents: &[u8]) -> Vec<u8> {
    let mut element = [kind, contents.len() as u32].map(u32::to_le_bytes).concat();
    element.extend(contents);
    element.resize(element.len().next_multiple_of(8), 0);
    element
}

/// A matrix of unsigned bytes, its name as short as MATLAB writes it.
pub fn matrix(name: u8, dims: &[i32], values: &[u8]) -> Vec<u8> {
    let dims: Vec<u8> = dims.iter().flat_map(|d| d.to_le_bytes()).collect();
    let name = [1, 0, 1, 0, name, 0, 0, 0];
    let parts = [element(6, &[9, 0, 0, 0, 0, 0, 0, 0]), element(5, &dims), name.to_vec(), element(2, values)];
    element(14, &parts.concat())
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut writer = ZlibEncoder::new(Vec::new(), Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// A compressed element, which is not filled up.
pub fn compressed(contents: &[u8]) -> Vec<u8> {
    let zipped = zlib(contents);
    [&[15, zipped.len() as u32].map(u32::to_le_bytes).concat(), zipped.as_slice()].concat()
}

pub fn mat(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut file = b"MATLAB 5.0 MAT-file, made by a test".to_vec();
    file.resize(124, b' ');
    file.extend([0, 1, b'I', b'M']);
    file.extend(elements.concat());
    file
}
