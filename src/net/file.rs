//! Parameters and buffers in safetensors files, under the names that PyTorch gives them.

use std::path::Path;

use super::network::Network;
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor_file::TensorFile;

/// Name of PyTorch's count of batches, of which one stands beside each running mean.
fn tracked(name: &str) -> Option<String> {
    Some(format!("{}num_batches_tracked", name.strip_suffix("running_mean")?))
}

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

    /// Takes over parameters and running statistics of a network of the same graph, rounded to `precision().parameters`.
    ///
    /// Errors: [`crate::Error::InvalidArgument`] for another graph.
    pub fn copy_state(&mut self, from: &mut Network) -> Result<()> {
        if self.graph != from.graph {
            return Err(crate::Error::invalid("from", "a network of the same graph", "another one"));
        }
        let mut state = TensorFile::default();
        from.store_in(&mut state, "")?;
        self.restore_from(&state, "")
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
            if let Some(tracked) = tracked(&name) {
                file.integers.insert(format!("{prefix}{tracked}"), self.tensors[index].batches_tracked);
            }
        }
        Ok(())
    }

    /// Takes parameters and buffers from a file that holds them.
    pub(crate) fn restore_from(&mut self, file: &TensorFile, prefix: &str) -> Result<()> {
        let dtype = self.precision.parameters;
        for index in 0..self.tensors.len() {
            let name = &self.tensors[index].info.name;
            let values = &file.tensors[&format!("{prefix}{name}")];
            // Old files do not count; PyTorch takes that for 0, too.
            let batches = tracked(name).and_then(|t| file.integers.get(&format!("{prefix}{t}")));
            let batches_tracked = batches.copied().unwrap_or(0);
            let values = if values.dtype() == dtype { values.clone() } else { values.to_dtype(dtype) };
            self.write_value(index, values.view())?;
            self.tensors[index].batches_tracked = batches_tracked;
        }
        self.settle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use crate::net::Graph;
    use crate::tensor::Tensor;

    #[test]
    fn batches_are_counted_as_pytorch_counts_them() {
        let mut graph = Graph::new([1, 2, 2]);
        let x = graph.batchnorm("norm", graph.input()).unwrap();
        graph.flatten("flatten", x).unwrap();
        let mut networks = [0, 1].map(|_| Network::new(&Engine::cpu(), &graph, DType::F32, 1).unwrap());
        let [network, other] = &mut networks;
        let x = Tensor::from_f64(DType::F32, &[1, 1, 2, 2], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("network");
        let count = |network: &mut Network| {
            network.save(&path).unwrap();
            TensorFile::read(&path).unwrap().integers["norm.num_batches_tracked"]
        };
        network.loss_and_gradients(x.view(), &[0]).unwrap();
        network.loss_and_gradients(x.view(), &[0]).unwrap();
        network.evaluate(x.view(), &[0]).unwrap();
        network.census(x.view(), &[0]).unwrap();
        network.freeze_batchnorm(true);
        network.loss_and_gradients(x.view(), &[0]).unwrap();
        assert_eq!(count(network), 2);
        other.load(&path, false).unwrap();
        other.loss_and_gradients(x.view(), &[0]).unwrap();
        assert_eq!(count(other), 3);
    }
}
