//! Named tensors in safetensors files, written so that a crash leaves the old file whole.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::whole_file;

/// What a file holds, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct TensorFile {
    pub tensors: BTreeMap<String, Tensor>,
    /// Scalars of 64 bits, as PyTorch's `num_batches_tracked`.
    pub integers: BTreeMap<String, i64>,
    /// A text of the writer's own.
    pub metadata: Option<String>,
}

/// Key of [`TensorFile::metadata`] among those of the format. One key alone, so that equal contents give equal bytes.
const METADATA: &str = "tiebreak";

impl TensorFile {
    /// Writes the file as [`whole_file::write`] does.
    pub fn write(&self, path: &Path) -> Result<()> {
        let integers: Vec<(&String, [u8; 8])> =
            self.integers.iter().map(|(name, v)| (name, v.to_le_bytes())).collect();
        let format_error = |e: safetensors::SafeTensorError| Error::Format {
            path: path.to_path_buf(),
            message: e.to_string(),
        };
        let mut views = Vec::new();
        for (name, tensor) in &self.tensors {
            let dtype = match tensor.dtype() {
                DType::F16 => Dtype::F16,
                DType::F32 => Dtype::F32,
                DType::F64 => Dtype::F64,
            };
            let view = TensorView::new(dtype, tensor.shape().to_vec(), tensor.bytes());
            views.push((name, view.map_err(format_error)?));
        }
        for (name, bytes) in &integers {
            views.push((name, TensorView::new(Dtype::I64, vec![], bytes).map_err(format_error)?));
        }
        let metadata = self.metadata.clone().map(|text| HashMap::from([(METADATA.to_string(), text)]));
        let bytes = safetensors::serialize(views, metadata).map_err(format_error)?;

        whole_file::write(path, &bytes)
    }

    /// Reads a file; tensors of other types than f16, f32, f64 and scalars of i64 are refused.
    pub fn read(path: &Path) -> Result<TensorFile> {
        let bytes = fs::read(path).map_err(|e| Error::io(path, e))?;
        let damaged = |message: String| Error::Format { path: path.to_path_buf(), message };
        let file = SafeTensors::deserialize(&bytes)
            .map_err(|e| damaged(format!("not a whole safetensors file: {e}")))?;
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|e| damaged(format!("damaged header: {e}")))?;
        let mut result = TensorFile {
            metadata: header.metadata().as_ref().and_then(|m| m.get(METADATA).cloned()),
            ..Default::default()
        };
        for (name, view) in file.tensors() {
            let dtype = match view.dtype() {
                Dtype::F16 => DType::F16,
                Dtype::F32 => DType::F32,
                Dtype::F64 => DType::F64,
                Dtype::I64 if view.shape().is_empty() => {
                    let bytes = view.data().try_into().expect("a scalar of 8 bytes");
                    result.integers.insert(name, i64::from_le_bytes(bytes));
                    continue;
                }
                other => return Err(damaged(format!("{name}: expected f16, f32 or f64, got {other:?}"))),
            };
            let mut tensor = Tensor::zeros(dtype, view.shape())?;
            tensor.bytes_mut().copy_from_slice(view.data());
            result.tensors.insert(name, tensor);
        }
        Ok(result)
    }

    /// Fails with all that differs between the tensors with this `prefix` and what is wanted: (name, shape, dtype).
    /// With `convert`, the dtypes may differ.
    pub fn expect(
        &self,
        path: &Path,
        prefix: &str,
        wanted: &[(String, Vec<usize>, DType)],
        convert: bool,
    ) -> Result<()> {
        let mut faults = Vec::new();
        for (name, shape, dtype) in wanted {
            match self.tensors.get(name) {
                None => faults.push(format!("{name} is missing")),
                Some(t) if t.shape() != shape => {
                    faults.push(format!("{name}: expected shape {shape:?}, got {:?}", t.shape()))
                }
                Some(t) if t.dtype() != *dtype && !convert => {
                    faults.push(format!("{name}: expected {dtype}, got {}", t.dtype()))
                }
                Some(_) => {}
            }
        }
        let known: std::collections::BTreeSet<&str> = wanted.iter().map(|(name, ..)| name.as_str()).collect();
        let surplus = self.tensors.keys().filter(|n| n.starts_with(prefix) && !known.contains(n.as_str()));
        faults.extend(surplus.map(|name| format!("{name} is not known here")));
        if faults.is_empty() {
            return Ok(());
        }
        const SHOWN: usize = 8;
        let rest = faults.len().saturating_sub(SHOWN);
        let mut message = faults.into_iter().take(SHOWN).collect::<Vec<_>>().join("; ");
        if rest > 0 {
            message.push_str(&format!("; and {rest} more"));
        }
        Err(Error::Format { path: path.to_path_buf(), message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> TensorFile {
        let tensor = |dtype| Tensor::from_f64(dtype, &[2, 1], &[1.5, -2.0]).unwrap();
        TensorFile {
            tensors: DType::ALL.iter().map(|&d| (format!("t.{d}"), tensor(d))).collect(),
            integers: BTreeMap::from([("count".into(), -3)]),
            metadata: Some("{}".into()),
        }
    }

    #[test]
    fn files_round_trip_and_are_repeatable() {
        let folder = tempfile::tempdir().unwrap();
        let paths = ["a", "b"].map(|name| folder.path().join(name));
        paths.iter().for_each(|path| file().write(path).unwrap());
        assert_eq!(TensorFile::read(&paths[0]).unwrap(), file());
        assert_eq!(fs::read(&paths[0]).unwrap(), fs::read(&paths[1]).unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file stays");
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        file().write(&path).unwrap();
        // A folder in the way stands for a disk that refuses.
        let blocked = folder.path().join("blocked");
        fs::create_dir(&blocked).unwrap();
        assert!(matches!(file().write(&blocked), Err(Error::Io { .. })));
        assert!(matches!(file().write(&folder.path().join("none/a")), Err(Error::Io { .. })));
        assert_eq!(TensorFile::read(&path).unwrap(), file());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file stays");
    }

    #[test]
    fn every_truncation_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        file().write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for len in 0..whole.len() {
            fs::write(&path, &whole[..len]).unwrap();
            assert!(matches!(TensorFile::read(&path), Err(Error::Format { .. })), "{len} bytes");
        }
    }

    #[test]
    fn differences_are_all_told() {
        let wanted = |name: &str, shape: &[usize], dtype| (name.to_string(), shape.to_vec(), dtype);
        let list = [
            wanted("t.f16", &[2, 1], DType::F32),
            wanted("t.f32", &[2], DType::F32),
            wanted("other", &[1], DType::F32),
        ];
        let error = file().expect(Path::new("x"), "", &list, false).unwrap_err().to_string();
        for part in
            ["t.f16: expected f32, got f16", "t.f32: expected shape [2], got [2, 1]", "other is missing"]
        {
            assert!(error.contains(part), "{error}");
        }
        assert!(error.contains("t.f64 is not known here"), "{error}");
        assert!(file().expect(Path::new("x"), "", &list[..1], true).is_err(), "two are not known");
        let all: Vec<_> = DType::ALL.iter().map(|d| wanted(&format!("t.{d}"), &[2, 1], DType::F64)).collect();
        file().expect(Path::new("x"), "", &all, true).unwrap();
    }
}
