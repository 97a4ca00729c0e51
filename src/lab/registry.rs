//! The experiments by name: what the command line, the C ABI and Python know of them.

use std::ops::ControlFlow;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::attribution::Attribution;
use super::continuum::Continuum;
use super::conventions::Conventions;
use super::drift::Drift;
use super::experiment::{Event, Experiment, Outcome, RunOptions, Shard, run, run_in_memory};
use super::imagenet::ImageNet;
use super::journal::Record;
use super::learning_rate::LearningRate;
use super::margins::MarginsExperiment;
use super::noise::Noise;
use super::protocol::{self, Field, Protocol};
use super::reliability::Reliability;
use super::relu::Relu;
use super::replay::Replay;
use super::slices::Slices;
use super::taxonomy::Taxonomy;
use super::thresholds::Thresholds;
use super::ties::TieMaps;
use super::training::Training;
use super::volume::Volume;
use super::zero_program::ZeroProgram;
use crate::data::{Dataset, Split, synthetic};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::report::page::Page;

/// All experiments. A new one is a file of this module and a line here.
pub static EXPERIMENTS: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    vec![
        Entry::new(
            "zero_program",
            "E1: programs for zero, and the derivatives that reverse mode computes for them",
            ZeroProgram::create,
        ),
        Entry::new("ties", "E2: windows of max poolings that tie, drawn over images", TieMaps::create),
        Entry::new(
            "thresholds",
            "E3: gradients with the native and the minimal Jacobian of max pooling on LeNet-5, and the thresholds tau",
            Thresholds::max,
        ),
        Entry::new(
            "relu_thresholds",
            "E3 as its notebook was committed: the same for the values 0 and 1 of ReLU'(0)",
            Thresholds::relu,
        ),
        Entry::new(
            "norm_pool",
            "E8: the same for the values 0 and 1 at the zero of a norm pooling",
            Thresholds::norm,
        ),
        Entry::new(
            "volume",
            "E4: share of the mini-batches on which two Jacobians of max pooling differ by more than noise",
            Volume::create,
        ),
        Entry::new(
            "drift",
            "E5: distance of the weights, and accuracy, of networks that differ in beta alone",
            Drift::create,
        ),
        Entry::new(
            "training",
            "E6: accuracy and divergence of training for each beta, precision, optimizer and network",
            Training::create,
        ),
        Entry::new(
            "learning_rate",
            "E6: search for the learning rate, by trials of which the hopeless are stopped early",
            LearningRate::create,
        ),
        Entry::new(
            "imagenet",
            "E7: accuracy of ResNet50 on photos for each beta, trained by one process or several",
            ImageNet::create,
        ),
        Entry::new("relu", "E9: share of the initialisations whose first layer sees ReLU'(0)", Relu::create),
        Entry::new(
            "attribution",
            "E10: how much of the effect of beta is choice, compensation, and error of the forward pass",
            Attribution::create,
        ),
        Entry::new(
            "taxonomy",
            "E11: ties that are masked, structural or accidental, over training",
            Taxonomy::create,
        ),
        Entry::new(
            "replay",
            "E12: compensation or bifurcation, from both backward passes replayed in f64 on the recorded branches",
            Replay::create,
        ),
        Entry::new("noise", "E13: where noise ends, and whether the effect of beta is larger", Noise::create),
        Entry::new(
            "continuum",
            "E14: bifurcations and accuracy against the bits of fraction and exponent",
            Continuum::create,
        ),
        Entry::new(
            "margins",
            "E15: leads of the maximum in f64, and the ties that they foretell in other precisions",
            MarginsExperiment::create,
        ),
        Entry::new(
            "conventions",
            "E16: distance of the gradients that frameworks would compute",
            Conventions::create,
        ),
        Entry::new(
            "slices",
            "E17: the bifurcation set on a line and a plane around given weights",
            Slices::create,
        ),
        Entry::new(
            "reliability",
            "Accuracy for each beta, composition and precision, and what stops training: the choice at ties, or the arithmetic",
            Reliability::create,
        ),
    ]
});

/// An experiment that can be made.
pub struct Entry {
    /// What tables call it.
    pub name: &'static str,
    /// What it measures, in a line.
    pub about: &'static str,
    /// What can be chosen.
    pub fields: &'static [Field],
    /// Makes a page of its results.
    pub(super) page: fn(&[Record]) -> Result<Page>,
    defaults: fn(bool) -> Map<String, Value>,
    create: Box<Create>,
}

type Create =
    dyn Fn(&Map<String, Value>, Images) -> Result<Box<dyn AnyExperiment + Send + Sync>> + Send + Sync;

impl Entry {
    fn new<P, E>(name: &'static str, about: &'static str, create: fn(P, Images) -> Result<E>) -> Entry
    where
        P: Protocol + 'static,
        E: Experiment + Send + Sync + 'static,
    {
        Entry {
            name,
            about,
            fields: P::FIELDS,
            page: E::page,
            defaults: protocol::defaults::<P>,
            create: Box::new(move |given, images| Ok(Box::new(create(protocol::read(given)?, images)?))),
        }
    }

    /// All fields with their values, those of the published size where `full`.
    pub fn defaults(&self, full: bool) -> Map<String, Value> {
        (self.defaults)(full)
    }

    /// Makes the experiment; fields that `protocol` lacks have their defaults.
    ///
    /// Errors: [`Error::NotFound`] for a field or a network that is not known, [`Error::InvalidArgument`] for a wrong value,
    /// for images that it needs and are missing, and for some that it does not take.
    pub fn create(
        &self,
        protocol: &Map<String, Value>,
        images: Images,
    ) -> Result<Box<dyn AnyExperiment + Send + Sync>> {
        (self.create)(protocol, images)
    }
}

/// The experiment of that name. Errors: [`Error::NotFound`].
pub fn find(name: &str) -> Result<&'static Entry> {
    EXPERIMENTS.iter().find(|entry| entry.name == name).ok_or_else(|| {
        let known: Vec<&str> = EXPERIMENTS.iter().map(|entry| entry.name).collect();
        Error::NotFound { what: "experiment", name: name.into(), known: known.join(", ") }
    })
}

/// The images that an experiment is given.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Images {
    /// Training part.
    pub train: Option<Dataset>,
    /// Test part; those that do not test leave it.
    pub test: Option<Dataset>,
}

impl From<Split> for Images {
    fn from(split: Split) -> Images {
        Images { train: Some(split.train), test: Some(split.test) }
    }
}

impl Images {
    /// For an experiment without images.
    pub(super) fn refuse(self) -> Result<()> {
        match self.train.or(self.test) {
            None => Ok(()),
            Some(given) => Err(Error::invalid("train", "no images: this experiment takes none", given.name)),
        }
    }

    /// The first so many of each part; drawn digits where there are none.
    pub(super) fn or_drawn(self, train: Option<usize>, test: Option<usize>) -> Result<Split> {
        let given = match self {
            Images { train: None, test: None } => synthetic::embedded(6400, 1000).into(),
            given => given,
        };
        given.split(train, test)
    }

    /// The training part; drawn digits where there is none.
    pub(super) fn or_drawn_train(self) -> Result<Dataset> {
        Ok(self.train.unwrap_or_else(|| synthetic::embedded(6400, 0).train))
    }

    pub(super) fn train(self) -> Result<Dataset> {
        self.train.ok_or_else(|| Error::invalid("train", "a data set", "none"))
    }

    /// The first so many of each part.
    pub(super) fn split(self, train: Option<usize>, test: Option<usize>) -> Result<Split> {
        let images = self.test.ok_or_else(|| Error::invalid("test", "a data set", "none"));
        let limit = |limit: Option<usize>| limit.unwrap_or(usize::MAX);
        Ok(Split {
            train: Images { train: self.train, test: None }.train()?.take(limit(train)),
            test: images?.take(limit(test)),
        })
    }
}

/// An experiment, whatever its units are.
pub trait AnyExperiment {
    /// What tables call it.
    fn name(&self) -> &'static str;

    /// How many units it has.
    fn unit_count(&self) -> usize;

    /// As [`run`].
    fn run(
        &self,
        engine: &Engine,
        options: &RunOptions,
        progress: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Outcome>;

    /// As [`run_in_memory`].
    fn run_in_memory(
        &self,
        engine: &Engine,
        shard: Option<Shard>,
        progress: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Outcome>;
}

impl<E: Experiment> AnyExperiment for E {
    fn name(&self) -> &'static str {
        Experiment::name(self)
    }

    fn unit_count(&self) -> usize {
        self.units().len()
    }

    fn run(
        &self,
        engine: &Engine,
        options: &RunOptions,
        progress: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        run(self, engine, options, progress)
    }

    fn run_in_memory(
        &self,
        engine: &Engine,
        shard: Option<Shard>,
        progress: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Outcome> {
        run_in_memory(self, engine, shard, progress)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::data::synthetic;

    fn create(name: &str, json: &str, images: Images) -> Result<Box<dyn AnyExperiment + Send + Sync>> {
        find(name)?.create(serde_json::from_str::<Value>(json).unwrap().as_object().unwrap(), images)
    }

    fn message(name: &str, json: &str, images: Images) -> String {
        create(name, json, images).err().unwrap().to_string()
    }

    fn digits() -> Images {
        synthetic::embedded(64, 32).into()
    }

    /// The sizes that the paper and the manual state: who changes one changes it here too.
    #[test]
    fn defaults_of_both_sizes() {
        let thresholds = json!({
            "precisions": ["f16", "f32", "f64"], "seeds": 10, "seeds_f64": 1, "orders": ["fixed", "seeded"],
            "batch_size": 128, "mini_batches": 50,
        });
        let more_thresholds = json!({"seeds": 100, "mini_batches": null});
        let zero_program = json!({
            "precisions": ["f16", "f32", "f64"],
            "vectors": [[1.0, 2.0, 3.0, 4.0], [1.14, 1.14, 1.14, 1.14], [1.4, 1.4, 1.4, 1.4]],
            "times": [-1.0, -0.5, 0.0, 0.5, 1.0],
        });
        let volume = json!({
            "precisions": ["f16", "f32", "f64"], "networks": ["vgg11"], "batch_sizes": [128], "seeds": 3,
            "mini_batches": 40,
        });
        let drift = json!({
            "network": "vgg11", "precisions": ["f32"], "betas": [0.0, 0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0],
            "composition": "coupled", "seeds": 1, "epochs": 2, "measurements": 1, "limit": 2560,
            "test_limit": 1000, "batch_size": 128, "learning_rate": 0.01, "augmentation": true,
        });
        let training = json!({
            "networks": ["lenet5"], "precisions": ["f16", "f32", "mixed"], "optimizers": ["sgd"],
            "compositions": ["coupled"], "betas": [0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0], "seeds": 2,
            "epochs": 2, "limit": null, "test_limit": null, "batch_size": 128, "learning_rate": null,
        });
        let relu = json!({
            "precisions": ["f32", "f64"], "layers": [1, 2, 3, 5, 6], "width": 256, "seeds": 200,
            "batch_size": 128, "mini_batches": 20,
        });
        let ties = json!({"network": null, "precisions": ["f16", "f32"], "images": [0], "seeds": 1});
        let learning_rate = json!({
            "networks": ["lenet5"], "precisions": ["f16", "f32", "mixed"], "optimizers": ["sgd"], "seeds": 1,
            "trials": 10, "epochs": 3, "limit": 12800, "test_limit": 2000, "batch_size": 128, "lowest": 1e-5,
            "highest": 0.1,
        });
        let imagenet = json!({
            "network": "resnet50_bn", "precision": "mixed", "composition": "coupled", "betas": [0.0, 1000.0],
            "seeds": 1, "epochs": 2, "measurements": 5, "batch_size": 32, "parts": 4, "learning_rate": 0.001,
        });
        let full_imagenet = json!({
            "betas": [0.0, 1.0, 10.0, 100.0, 1000.0], "epochs": 80, "measurements": 1, "batch_size": 512, "learning_rate": 0.1,
        });
        let reliability = json!({
            "network": "lenet5", "weights": null, "precisions": ["f16", "f32"], "compositions": ["coupled", "exact"],
            "betas": [0.0, 1.0, 10.0, 100.0, 1000.0, 10000.0], "seeds": 3, "epochs": 5, "limit": null, "test_limit": null,
            "batch_size": 128, "learning_rate": 0.05,
        });
        let expected = [
            ("reliability", reliability, json!({"epochs": 20})),
            ("imagenet", imagenet, full_imagenet),
            ("zero_program", zero_program, json!({})),
            ("ties", ties, json!({})),
            ("learning_rate", learning_rate, json!({"epochs": 10, "limit": null, "test_limit": null})),
            ("thresholds", thresholds.clone(), more_thresholds.clone()),
            ("relu_thresholds", thresholds.clone(), more_thresholds.clone()),
            ("norm_pool", thresholds, more_thresholds),
            ("volume", volume, json!({"networks": null, "batch_sizes": null, "mini_batches": null})),
            ("drift", drift, json!({"epochs": 200, "limit": null, "test_limit": null})),
            ("training", training, json!({"epochs": null})),
            ("relu", relu, json!({"seeds": 1000, "mini_batches": null})),
        ];
        for (name, small, published) in expected {
            let entry = find(name).unwrap();
            let mut map = small.as_object().unwrap().clone();
            assert_eq!(entry.defaults(false), map, "{name}");
            map.extend(published.as_object().unwrap().clone());
            assert_eq!(entry.defaults(true), map, "{name}, full");
        }
    }

    #[test]
    fn each_is_made_by_its_name_and_from_its_own_defaults() {
        let colour = || Images::from(synthetic::embedded_colour(8, 4));
        for entry in EXPERIMENTS.iter() {
            let images = match entry.name {
                "zero_program" => Images::default(),
                "volume" | "drift" | "imagenet" => colour(),
                _ => digits(),
            };
            for full in [false, true] {
                let experiment = entry.create(&entry.defaults(full), images.clone()).unwrap();
                assert_eq!(experiment.name(), entry.name);
                assert!(experiment.unit_count() > 0, "{}", entry.name);
            }
            assert!(entry.fields.iter().all(|field| !field.about.is_empty()));
        }
    }

    #[test]
    fn wrong_ones_say_why() {
        let known = "known: zero_program, ties, thresholds, relu_thresholds, norm_pool, volume, drift, training, learning_rate, imagenet, relu, attribution, taxonomy, replay, noise, continuum, margins, conventions, slices, reliability";
        assert_eq!(message("zero", "{}", digits()), format!("no experiment named `zero`; {known}"));
        assert!(message("zero_program", "{}", digits()).contains("`train`: expected no images"));
        for name in ["volume", "drift", "training"] {
            let message = message(name, "{}", Images::default());
            assert!(message.contains("expected a data set, got none"), "{name}: {message}");
        }
        let train = Images { test: None, ..digits() };
        assert!(message("training", "{}", train).starts_with("argument `test`"));
        for (name, json, part) in [
            ("relu", r#"{"batch_size": 0}"#, "argument `batch_size`: expected at least 1, got 0"),
            ("relu", r#"{"seeds": 1000001}"#, "argument `seeds`: expected at most 1000000, got 1000001"),
            ("relu", r#"{"layers": [2, 0]}"#, "argument `layers`: expected at least 1, got 0"),
            ("reliability", r#"{"epochs": 0}"#, "argument `epochs`: expected at least 1, got 0"),
            ("reliability", r#"{"betas": []}"#, "argument `betas`: expected at least one, got none"),
            ("reliability", r#"{"learning_rate": -1}"#, "argument `learning_rate`: expected"),
            ("drift", r#"{"betas": []}"#, "argument `betas`: expected at least one, got none"),
            ("training", r#"{"networks": ["lenet6"]}"#, "no network named `lenet6`"),
            (
                "training",
                r#"{"optimizers": ["lion"]}"#,
                "argument `optimizers`: expected sgd or adam, got [\"lion\"]",
            ),
            ("thresholds", r#"{"orders": ["none"]}"#, "argument `orders`: expected fixed or seeded"),
        ] {
            let message = message(name, json, digits());
            assert!(message.contains(part), "{message}");
        }
    }
}
