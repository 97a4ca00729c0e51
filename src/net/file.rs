//! Parameters and buffers in safetensors files, under the names that PyTorch gives them.

use std::path::Path;

use super::network::Network;
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor_file::TensorFile;

/// PyTorch's count of batches beside the running statistics.
const TRACKED: &str = "num_batches_tracked";

impl Network {
    /// Writes parameters and running statistics to a safetensors file, as a PyTorch `state_dict`. The file appears whole or
    /// not at all.
    ///
    /// Errors: [`crate::Error::Io`] where the file cannot be written; an older file then stays as it is.
    pub fn save(&mut self, path: impl AsRef<Path>) -> Result<()> {
        let mut file = TensorFile::default();
        self.store_in(&mut file, "")?;
        file.write(path.as_ref())
    }

    /// Reads parameters and running statistics from a safetensors file, one saved here or by PyTorch. With `convert`,
    /// values of another dtype are rounded to `precision().parameters`; without, they are refused.
    ///
    /// Errors: [`crate::Error::Io`], and [`crate::Error::Format`] for a damaged file or one whose names, shapes or dtypes
    /// differ, with what differs. The network then stays as it was.
    pub fn load(&mut self, path: impl AsRef<Path>, convert: bool) -> Result<()> {
        let path = path.as_ref();
        let file = TensorFile::read(path)?;
        file.expect(path, "", &self.wanted(""), convert)?;
        self.restore_from(&file, "")
    }

    /// Names behind `prefix`, shapes and dtypes of parameters and buffers.
    pub(crate) fn wanted(&self, prefix: &str) -> Vec<(String, Vec<usize>, DType)> {
        let dtype = self.precision.parameters;
        let tensors = self.tensors.iter().map(|t| &t.info);
        tensors.map(|info| (format!("{prefix}{}", info.name), info.shape.clone(), dtype)).collect()
    }

    /// Adds parameters and buffers to a file.
    pub(crate) fn store_in(&mut self, file: &mut TensorFile, prefix: &str) -> Result<()> {
        for index in 0..self.tensors.len() {
            let name = self.tensors[index].info.name.clone();
            file.tensors.insert(format!("{prefix}{name}"), self.read_value(index)?);
            if let Some(layer) = name.strip_suffix("running_mean") {
                file.integers.insert(format!("{prefix}{layer}{TRACKED}"), self.settings.step as i64);
            }
        }
        Ok(())
    }

    /// Takes parameters and buffers from a file that holds them.
    pub(crate) fn restore_from(&mut self, file: &TensorFile, prefix: &str) -> Result<()> {
        let dtype = self.precision.parameters;
        for index in 0..self.tensors.len() {
            let values = &file.tensors[&format!("{prefix}{}", self.tensors[index].info.name)];
            let values = if values.dtype() == dtype { values.clone() } else { values.to_dtype(dtype) };
            self.write_value(index, values.view())?;
        }
        Ok(())
    }
}
