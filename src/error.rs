//! What can go wrong, with the detail that a user needs to put it right.

use std::path::PathBuf;

/// Every fallible function of the library returns this.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that names what was expected and what came.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are what the messages say
pub enum Error {
    /// An argument has a value outside its domain.
    #[error("argument `{argument}`: expected {expected}, got {got}")]
    InvalidArgument { argument: String, expected: String, got: String },
    /// A tensor has the wrong shape.
    #[error("shape of `{argument}`: expected {expected}, got {got}")]
    Shape { argument: String, expected: String, got: String },
    /// A tensor has the wrong element type.
    #[error("dtype of `{argument}`: expected {expected}, got {got}")]
    DType { argument: String, expected: String, got: String },
    /// A name (of a parameter, a layer, a network) is not known here.
    #[error("no {what} named `{name}`; known: {known}")]
    NotFound { what: &'static str, name: String, known: String },
    /// The operating system refused to read or write a file.
    #[error("{path}: {message}")]
    Io { path: PathBuf, message: String },
    /// A file is damaged or is not of the expected format.
    #[error("{path}: {message}")]
    Format { path: PathBuf, message: String },
    /// The call is valid, but this build, engine or state cannot do it.
    #[error("{0}")]
    Unsupported(String),
    /// A GPU call failed; the engine stays usable unless it says that the device is lost.
    #[error("GPU: {0}")]
    Device(String),
    /// The GPU went away. Sticky: every later call on that engine returns it; create a new engine.
    #[error("GPU lost: {0}")]
    DeviceLost(String),
    /// Memory for `what` could not be had.
    #[error("out of memory: {what} needs {bytes} bytes; {detail}")]
    OutOfMemory { what: String, bytes: usize, detail: String },
    /// One of several processes or threads that train together failed, or is not what the others are.
    #[error("rank {rank}: {message}")]
    Rank { rank: usize, message: String },
    /// The caller asked for the work to stop.
    #[error("cancelled")]
    Cancelled,
}

impl Error {
    /// The status that the C ABI returns for this error.
    pub fn status(&self) -> Status {
        match self {
            Error::InvalidArgument { .. } => Status::InvalidArgument,
            Error::Shape { .. } => Status::ShapeMismatch,
            Error::DType { .. } => Status::DTypeMismatch,
            Error::NotFound { .. } => Status::NotFound,
            Error::Io { .. } => Status::Io,
            Error::Format { .. } => Status::Format,
            Error::Unsupported(_) | Error::Rank { .. } => Status::Unsupported,
            Error::Device(_) => Status::Device,
            Error::DeviceLost(_) => Status::DeviceLost,
            Error::OutOfMemory { .. } => Status::OutOfMemory,
            Error::Cancelled => Status::Cancelled,
        }
    }

    pub(crate) fn invalid(argument: impl Into<String>, expected: impl ToString, got: impl ToString) -> Error {
        Error::InvalidArgument {
            argument: argument.into(),
            expected: expected.to_string(),
            got: got.to_string(),
        }
    }

    pub(crate) fn io(path: &std::path::Path, message: impl ToString) -> Error {
        Error::Io { path: path.to_path_buf(), message: message.to_string() }
    }

    pub(crate) fn shape(argument: impl Into<String>, expected: impl ToString, got: &[usize]) -> Error {
        Error::Shape { argument: argument.into(), expected: expected.to_string(), got: format!("{got:?}") }
    }

    pub(crate) fn dtype(argument: impl Into<String>, expected: impl ToString, got: impl ToString) -> Error {
        Error::DType { argument: argument.into(), expected: expected.to_string(), got: got.to_string() }
    }
}

/// Status codes of the C ABI. The numbers are frozen: new ones are added, none changes its meaning.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Success.
    Ok = 0,
    /// A pointer that must not be NULL was NULL.
    NullPointer = 1,
    /// A handle that was never created, was freed, or belongs to another type.
    InvalidHandle = 2,
    /// A value outside its domain.
    InvalidArgument = 3,
    /// A tensor of the wrong shape.
    ShapeMismatch = 4,
    /// A tensor of the wrong element type.
    DTypeMismatch = 5,
    /// A name that is not known.
    NotFound = 6,
    /// A file could not be read or written.
    Io = 7,
    /// A damaged or foreign file.
    Format = 8,
    /// Not possible with this build, engine or state.
    Unsupported = 9,
    /// A GPU call failed.
    Device = 10,
    /// The GPU went away; create a new engine.
    DeviceLost = 11,
    /// Not enough memory.
    OutOfMemory = 12,
    /// Stopped at the caller's wish.
    Cancelled = 13,
    /// A panic inside the library was caught; a bug, please report it.
    Panic = 255,
}
