//! Handles look like opaque pointers and are tokens, slot and generation, looked up in a table: one that is
//! stale, forged or of another type is an error, never undefined behaviour.

use std::sync::{Arc, Mutex, MutexGuard};

use slotmap::{DefaultKey, Key, KeyData, SlotMap};

use super::Failure;
use super::engine::EngineObject;
use super::experiment::ResultObject;
#[cfg(not(feature = "lab"))]
use super::no_lab::{Dataset, lab::AnyExperiment};
use super::tensor::TensorObject;
#[cfg(feature = "lab")]
use crate::data::Dataset;
use crate::error::Status;
#[cfg(feature = "lab")]
use crate::lab::AnyExperiment;
use crate::net::{Graph, Network};
use crate::train::Optimizer;

/// What a handle stands for. Shared, so that freeing a handle while a call uses it is safe.
#[derive(Clone)]
pub(super) enum Object {
    Engine(Arc<EngineObject>),
    Tensor(Arc<TensorObject>),
    Graph(Arc<Mutex<Graph>>),
    Network(Arc<Mutex<Network>>),
    Optimizer(Arc<OptimizerObject>),
    Dataset(Arc<Dataset>),
    Experiment(Arc<dyn AnyExperiment + Send + Sync>),
    ExperimentResult(Arc<ResultObject>),
}

/// An optimizer keeps its network alive.
pub(super) struct OptimizerObject {
    pub network: Arc<Mutex<Network>>,
    pub optimizer: Mutex<Optimizer>,
}

impl Drop for OptimizerObject {
    /// The network goes on without the optimizer's state.
    fn drop(&mut self) {
        lock(&self.optimizer).give_back(&mut lock(&self.network));
    }
}

static TABLE: Mutex<Option<SlotMap<DefaultKey, Object>>> = Mutex::new(None);

fn table() -> MutexGuard<'static, Option<SlotMap<DefaultKey, Object>>> {
    lock(&TABLE)
}

/// Locks; a panic elsewhere while it was held is no reason to fail here.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A type of handle: the opaque C type and the object behind it.
pub(super) trait Handle {
    /// Name as in the header.
    const NAME: &'static str;
    type Target;
    fn open(object: Object) -> Option<Self::Target>;
}

/// A new handle.
pub(super) fn create<H: Handle>(object: Object) -> *mut H {
    let key = table().get_or_insert_with(SlotMap::new).insert(object);
    std::ptr::without_provenance_mut(key.data().as_ffi() as usize)
}

fn key<H>(handle: *const H) -> DefaultKey {
    let key = KeyData::from_ffi(handle.addr() as u64);
    // from_ffi makes every generation odd: what it had to change is no handle, a small number least of all.
    if key.as_ffi() == handle.addr() as u64 { key.into() } else { DefaultKey::null() }
}

/// What a handle stands for; NULL, stale, foreign and forged ones are errors.
pub(super) fn get<H: Handle>(handle: *const H, argument: &str) -> Result<H::Target, Failure> {
    if handle.is_null() {
        return Err(Failure::null(argument));
    }
    let object = table().as_ref().and_then(|t| t.get(key(handle)).cloned());
    object.and_then(H::open).ok_or_else(|| invalid::<H>(argument))
}

/// Frees a handle; NULL is nothing to do.
pub(super) fn free<H: Handle>(handle: *mut H, argument: &str) -> Result<(), Failure> {
    if handle.is_null() {
        return Ok(());
    }
    // Looked up and removed under one lock; dropped after it, since dropping may take long.
    let removed = {
        let mut table = table();
        let valid = table.as_ref().and_then(|t| t.get(key(handle))).cloned().and_then(H::open).is_some();
        if !valid {
            return Err(invalid::<H>(argument));
        }
        table.as_mut().and_then(|t| t.remove(key(handle)))
    };
    drop(removed);
    Ok(())
}

fn invalid<H: Handle>(argument: &str) -> Failure {
    Failure {
        status: Status::InvalidHandle,
        message: format!(
            "argument `{argument}`: expected a live {} handle, got one that was freed, never created, or is of \
             another type",
            H::NAME
        ),
    }
}
