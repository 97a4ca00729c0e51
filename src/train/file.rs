//! A whole run in one safetensors file: network, optimizer, counters.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::grad_scaler::GradScaler;
use super::optimizer::{Optimizer, OptimizerOptions};
use crate::error::{Error, Result};
use crate::net::Network;
use crate::tensor_file::TensorFile;

/// What a run file says beside its tensors.
#[derive(Debug, Serialize, Deserialize)]
struct RunState {
    /// Of the format of this text.
    version: u32,
    /// As [`crate::Precision`] writes it.
    precision: String,
    /// Its name: two that keep the same state are told apart.
    algorithm: String,
    /// Steps that changed the parameters, and steps in all.
    optimizer_steps: u64,
    network_steps: u64,
    learning_rate: f64,
    /// (scale, growth_tracker)
    grad_scaler: Option<(f64, u64)>,
}

const VERSION: u32 = 1;
/// More steps than a run makes; counting on from here overflows nothing.
const MAX_STEPS: u64 = 1 << 53;
const NETWORK: &str = "network.";
const OPTIMIZER: &str = "optimizer.";

impl Optimizer {
    /// Writes the run to a safetensors file: the network's parameters and running statistics, the optimizer's state, the
    /// counters that random draws and bias corrections depend on, learning rate and loss scale, and the names of precision
    /// and algorithm. The file appears whole or not at all.
    ///
    /// Seed, choices at kinks, [`Network::freeze_batchnorm`], [`Network::set_reduction_order`] and the other scalars of the
    /// optimizer are not in it: who goes on with the run sets them again.
    pub fn save(&self, network: &mut Network, path: impl AsRef<Path>) -> Result<()> {
        let mut file = TensorFile::default();
        for (name, tensor) in self.state(network)? {
            file.tensors.insert(format!("{OPTIMIZER}{name}"), tensor);
        }
        network.store_in(&mut file, NETWORK)?;
        let state = RunState {
            version: VERSION,
            precision: network.precision().to_string(),
            algorithm: self.options().algorithm.name().to_string(),
            optimizer_steps: self.steps(),
            network_steps: network.steps(),
            learning_rate: self.options().algorithm.learning_rate(),
            grad_scaler: self.options().grad_scaler.map(|s| (s.scale, s.growth_tracker)),
        };
        file.metadata = Some(serde_json::to_string(&state).expect("numbers and a text"));
        file.write(path.as_ref())
    }

    /// Goes on with a run that [`Optimizer::save`] wrote, for a network and an optimizer created with the same options,
    /// under the same choices: the next steps give the bits that they would have given there.
    ///
    /// Errors: [`Error::Io`], and [`Error::Format`] for a damaged file or one of another network, precision or algorithm, with
    /// what differs. Network and optimizer then stay as they were.
    pub fn load(&mut self, network: &mut Network, path: impl AsRef<Path>) -> Result<()> {
        self.check(network)?;
        let path = path.as_ref();
        let file = TensorFile::read(path)?;
        let refuse = |message: String| Err(Error::Format { path: path.to_path_buf(), message });
        let Some(text) = &file.metadata else {
            return refuse("expected the file of a run, got one without run state".into());
        };
        let state: RunState = match serde_json::from_str(text) {
            Ok(state) => state,
            Err(e) => return refuse(format!("run state: {e}")),
        };
        if state.version != VERSION {
            return refuse(format!("expected version {VERSION} of a run's state, got {}", state.version));
        }
        let precision = network.precision().to_string();
        if state.precision != precision {
            return refuse(format!("expected precision {precision}, got {}", state.precision));
        }
        let algorithm = self.options().algorithm.name();
        if state.algorithm != algorithm {
            return refuse(format!("expected algorithm {algorithm}, got {}", state.algorithm));
        }
        let steps = state.network_steps.max(state.optimizer_steps);
        if steps > MAX_STEPS {
            return refuse(format!("expected at most {MAX_STEPS} steps, got {steps}"));
        }
        if state.grad_scaler.is_some() != self.options().grad_scaler.is_some() {
            let is = |scaled| if scaled { "with loss scaling" } else { "without loss scaling" };
            let [own, theirs] = [self.options().grad_scaler.is_some(), state.grad_scaler.is_some()].map(is);
            return refuse(format!("expected a run {own}, got one {theirs}"));
        }
        let own = self.options();
        let options = OptimizerOptions {
            algorithm: own.algorithm.with(state.learning_rate, None),
            grad_scaler: own
                .grad_scaler
                .zip(state.grad_scaler)
                .map(|(own, (scale, growth_tracker))| GradScaler { scale, growth_tracker, ..own }),
            ..own.clone()
        };
        if let Err(e) = options.validate() {
            return refuse(format!("run state: {e}"));
        }
        let mut wanted = network.wanted(NETWORK);
        wanted.extend(self.wanted(network, OPTIMIZER));
        file.expect(path, "", &wanted, false)?;
        self.restore(network, &file, OPTIMIZER, options, state.optimizer_steps)?;
        network.restore_from(&file, NETWORK)?;
        network.set_steps(state.network_steps);
        Ok(())
    }
}
