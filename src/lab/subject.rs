//! The network that an experiment looks at: one of the zoo, or the user's own.

use std::fs;
use std::path::{Path, PathBuf};

use flate2::Crc;

use super::columns::Columns;
use crate::data::Dataset;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::net::{Graph, Initialization, Network, NetworkOptions, zoo};
use crate::precision::Precision;

/// A graph, and how its weights start.
#[derive(Debug, Clone)]
pub struct Subject {
    name: String,
    graph: Graph,
    initialization: Initialization,
    weights: Option<PathBuf>,
    /// Of the files that it comes from: another network may get their names.
    fingerprint: Option<u32>,
}

impl Subject {
    /// A network of the zoo, for the images of `data`.
    pub fn of_zoo(name: &str, data: &Dataset) -> Result<Subject> {
        let options = zoo::Options { classes: data.classes, input: Some(data.shape), ..Default::default() };
        Ok(Subject {
            name: name.into(),
            graph: zoo::by_name(name, &options)?,
            initialization: zoo::published_initialization(name, Default::default())?,
            weights: None,
            fingerprint: None,
        })
    }

    /// A network by its name in the zoo, or described in a file `*.json` ([`Graph::from_json`]), with the weights of a
    /// safetensors file if given; else from its initialisation.
    ///
    /// Errors: [`Error::NotFound`] for an unknown name; [`Error::Io`] and [`Error::Format`] for files;
    /// [`Error::Shape`] where the images are none that it takes, or the classes too many.
    pub fn new(network: &str, weights: Option<&str>, data: &Dataset) -> Result<Subject> {
        let weights = weights.map(PathBuf::from);
        let mut crc = Crc::new();
        if let Some(path) = &weights {
            crc.update(&fs::read(path).map_err(|e| Error::io(path, e))?);
        }
        if !network.ends_with(".json") {
            let fingerprint = weights.is_some().then(|| crc.sum());
            return Ok(Subject { weights, fingerprint, ..Subject::of_zoo(network, data)? });
        }
        let path = Path::new(network);
        let text = fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let graph = Graph::from_json(&text)
            .map_err(|e| Error::Format { path: path.into(), message: e.to_string() })?;
        let input = graph.layers().next().expect("a graph has its input").shape;
        if input != data.shape {
            let expected = format!("images {input:?} for {network}");
            return Err(Error::shape("train", expected, &data.shape));
        }
        if graph.output_shape() < &[data.classes][..] || graph.output_shape().len() != 1 {
            let expected = format!("an output of [{}] or more for {network}", data.classes);
            return Err(Error::shape("network", expected, graph.output_shape()));
        }
        crc.update(graph.to_json().as_bytes());
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (initialization, fingerprint) = (Initialization::default(), Some(crc.sum()));
        Ok(Subject { name, graph, initialization, weights, fingerprint })
    }

    /// As tables call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Columns that tell it from others: its name, the file of its weights, and a fingerprint of what its files hold.
    pub fn settings(&self) -> Columns {
        let file = self.weights.as_deref().and_then(Path::file_name).unwrap_or_default();
        Columns::new()
            .with("network", self.name())
            .with("weights", file.to_string_lossy().into_owned())
            .with("fingerprint", self.fingerprint.map_or(String::new(), |crc| format!("{crc:08x}")))
    }

    /// With other initial weights than the published ones.
    #[must_use]
    pub fn with_initialization(self, initialization: Initialization) -> Subject {
        Subject { initialization, ..self }
    }

    /// The network, started from `seed` or with the weights of the file.
    pub fn network(&self, engine: &Engine, precision: impl Into<Precision>, seed: u64) -> Result<Network> {
        let options =
            NetworkOptions { precision: precision.into(), seed, initialization: self.initialization };
        let mut network = Network::with_options(engine, &self.graph, &options)?;
        if let Some(weights) = &self.weights {
            network.load(weights, true)?;
        }
        Ok(network)
    }
}
